//! Where boxes stand: order within layers by barycentre, then places by the
//! mean of their neighbours (after Sugiyama, Tagawa and Toda, 1981, much
//! simplified). Edges over several layers pass through bends of their own.
//!
//! Knows widths alone; what a unit is (a column, a pixel) is the drawer's.

use super::Graph;

/// A box or, on a long edge, a bend.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The box, unless it is a bend.
    pub(super) node: Option<usize>,
    pub(super) width: i32,
    /// The centre.
    pub(super) x: i32,
}

/// Places in layers, and edges between neighbouring layers.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) places: Vec<Place>,
    pub(super) layers: Vec<Vec<usize>>,
    /// From, to: indices into `places`, always one layer apart.
    pub(super) links: Vec<(usize, usize)>,
    pub(super) width: i32,
}

/// Lays a graph out; `width_of` a box, `gap` between two.
pub(super) fn layout(graph: &Graph, width_of: impl Fn(usize) -> i32, gap: i32) -> Layout {
    let mut places: Vec<Place> = (0..graph.boxes.len())
        .map(|node| Place {
            node: Some(node),
            width: width_of(node),
            x: 0,
        })
        .collect();
    let mut layers = graph.layers.clone();
    let mut layer_of = vec![0; graph.boxes.len()];
    for (depth, layer) in layers.iter().enumerate() {
        layer.iter().for_each(|node| layer_of[*node] = depth);
    }
    let mut links = Vec::new();
    for (from, to) in &graph.edges {
        let mut last = *from;
        for layer in layers
            .iter_mut()
            .take(layer_of[*to])
            .skip(layer_of[*from] + 1)
        {
            places.push(Place {
                node: None,
                width: 1,
                x: 0,
            });
            links.push((last, places.len() - 1));
            last = places.len() - 1;
            layer.push(last);
        }
        links.push((last, *to));
    }
    let mut laid = Layout {
        places,
        layers,
        links,
        width: 0,
    };
    for _ in 0..8 {
        laid.sweep(true, gap);
        laid.sweep(false, gap);
    }
    laid.sweep(true, gap);
    let left = laid
        .places
        .iter()
        .map(|p| p.x - p.width / 2)
        .min()
        .unwrap_or(0);
    laid.places.iter_mut().for_each(|p| p.x -= left);
    laid.width = laid
        .places
        .iter()
        .map(|p| p.x - p.width / 2 + p.width)
        .max()
        .unwrap_or(0);
    laid
}

impl Layout {
    /// Orders and places each layer by its neighbours above (or below).
    fn sweep(&mut self, down: bool, gap: i32) {
        let count = self.layers.len();
        for step in 0..count {
            let depth = if down { step } else { count - 1 - step };
            let mut layer = std::mem::take(&mut self.layers[depth]);
            let wanted: Vec<(i32, usize)> = layer
                .iter()
                .map(|place| (self.wanted(*place, down), *place))
                .collect();
            let of = |place: usize| {
                wanted
                    .iter()
                    .find(|(_, p)| *p == place)
                    .map_or(0, |(x, _)| *x)
            };
            layer.sort_by_key(|place| of(*place));
            self.place(&layer, &of, gap);
            self.layers[depth] = layer;
        }
    }

    /// The mean of the neighbours' centres, or where it stands.
    fn wanted(&self, place: usize, down: bool) -> i32 {
        let neighbours = self.links.iter().filter_map(|(from, to)| match down {
            true if *to == place => Some(*from),
            false if *from == place => Some(*to),
            true | false => None,
        });
        let (sum, n) = neighbours.fold((0, 0), |(sum, n), other| {
            (sum + self.places[other].x, n + 1)
        });
        if n == 0 {
            self.places[place].x
        } else {
            (sum + n / 2).div_euclid(n)
        }
    }

    /// As near to what each wants as the gaps allow: pushed right, then all moved back by the mean push.
    fn place(&mut self, layer: &[usize], wanted: &impl Fn(usize) -> i32, gap: i32) {
        let mut end = i32::MIN / 2;
        let mut pushed = 0;
        for place in layer {
            let half = self.places[*place].width / 2;
            let x = wanted(*place).max(end + gap + half);
            self.places[*place].x = x;
            pushed += x - wanted(*place);
            end = x - half + self.places[*place].width;
        }
        let back = pushed / i32::try_from(layer.len().max(1)).unwrap_or(1);
        layer.iter().for_each(|place| self.places[*place].x -= back);
    }
}
