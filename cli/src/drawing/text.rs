//! A drawing in box characters.

use std::collections::HashMap;

use anstyle::Style;
use aquatint_engine::TaskState;
use unicode_width::UnicodeWidthStr;

use super::layout::{Layout, layout};
use super::{Graph, Node};
use crate::output::{BOLD, CYAN, DIM, GREEN, PLAIN, RED, YELLOW};

/// Rows of a box: border, title, detail, border.
const BOX_ROWS: usize = 4;

const UP: u8 = 1;
const DOWN: u8 = 2;
const LEFT: u8 = 4;
const RIGHT: u8 = 8;

/// Draws a graph, or lists it where the drawing would be wider than `columns`.
pub(crate) fn draw(graph: &Graph, columns: usize) -> String {
    let width_of = |node: usize| {
        let inner = graph.boxes[node]
            .lines()
            .iter()
            .map(|l| l.width())
            .max()
            .unwrap_or(0);
        i32::try_from(inner + 4).unwrap_or(i32::MAX / 4)
    };
    let laid = layout(graph, width_of, 3);
    let mut text = if usize::try_from(laid.width).is_ok_and(|width| width <= columns) {
        Canvas::draw(graph, &laid).render()
    } else {
        list(graph)
    };
    if let Some(step) = &graph.on_failure {
        let [title, detail] = step.lines();
        text.push_str(&format!(
            "\nwhen the run fails: {} {DIM}{detail}{DIM:#}\n",
            titled(step, &title)
        ));
    }
    text
}

fn titled(node: &Node, title: &str) -> String {
    let style = style(node);
    format!("{style}{title}{style:#}")
}

fn style(node: &Node) -> Style {
    match node.state.as_ref().map(|(state, _)| *state) {
        None => BOLD,
        Some(state) => state_style(state),
    }
}

/// How a state is coloured, everywhere.
pub(crate) fn state_style(state: TaskState) -> Style {
    match state {
        TaskState::Blocked | TaskState::Skipped => DIM,
        TaskState::Ready => PLAIN,
        TaskState::Running => CYAN,
        TaskState::Retrying | TaskState::Cancelled => YELLOW,
        TaskState::Succeeded => GREEN,
        TaskState::Failed => RED,
    }
}

/// One line a step, by layers.
fn list(graph: &Graph) -> String {
    let mut text = String::new();
    for (depth, layer) in graph.layers.iter().enumerate() {
        for node in layer {
            let before: Vec<&str> = graph
                .edges
                .iter()
                .filter(|(_, to)| to == node)
                .map(|(from, _)| graph.boxes[*from].title.as_str())
                .collect();
            let [title, detail] = graph.boxes[*node].lines();
            let after = if before.is_empty() {
                String::new()
            } else {
                format!("  after {}", before.join(", "))
            };
            text.push_str(&format!(
                "{:>3}  {}  {DIM}{detail}{after}{DIM:#}\n",
                depth + 1,
                titled(&graph.boxes[*node], &title)
            ));
        }
    }
    text
}

/// Rows of cells; a cell is a line piece or a character of a label.
#[derive(Debug, Default)]
struct Canvas {
    /// Directions a line leaves a cell in.
    lines: HashMap<(usize, usize), u8>,
    labels: HashMap<(usize, usize), (String, Style)>,
    rows: usize,
}

impl Canvas {
    fn draw(graph: &Graph, laid: &Layout) -> Self {
        let mut canvas = Self::default();
        let mut top = 0;
        for layer in &laid.layers {
            for place in layer {
                let x = column(laid.places[*place].x);
                match laid.places[*place].node {
                    Some(node) => canvas.boxed(
                        &graph.boxes[node],
                        column(laid.places[*place].x - laid.places[*place].width / 2),
                        top,
                        column(laid.places[*place].width),
                    ),
                    None => canvas.down(x, top, top + BOX_ROWS - 1),
                }
            }
            top = canvas.channel(laid, layer, top + BOX_ROWS);
        }
        canvas
    }

    /// The lines between a layer and the next; returns the next layer's first row.
    fn channel(&mut self, laid: &Layout, layer: &[usize], top: usize) -> usize {
        let leaving = |place: usize| laid.links.iter().filter(move |(from, _)| *from == place);
        // Lines that turn, by where they go: those with the same ends may share a row.
        let mut bent: Vec<(Vec<usize>, Vec<usize>)> = Vec::new();
        for place in layer {
            let x = column(laid.places[*place].x);
            let mut targets: Vec<usize> = leaving(*place)
                .map(|(_, to)| column(laid.places[*to].x))
                .collect();
            targets.sort_unstable();
            if targets.iter().any(|t| *t != x) {
                match bent.iter_mut().find(|(_, known)| *known == targets) {
                    Some((sources, _)) => sources.push(x),
                    None => bent.push((vec![x], targets)),
                }
            }
        }
        // A line that comes down where another begins must turn below it, or the two would look like one.
        for _ in 0..bent.len() {
            for at in 0..bent.len() {
                let begins_there =
                    |later: &usize| bent[*later].0.iter().any(|x| bent[at].1.contains(x));
                if let Some(later) = (at + 1..bent.len()).find(begins_there) {
                    bent.swap(at, later);
                }
            }
        }
        let any = layer.iter().any(|place| leaving(*place).next().is_some());
        if !any {
            return top;
        }
        // One row to leave by, one for each line that turns, one for the arrow heads.
        let bottom = top + 1 + bent.len();
        for place in layer {
            let x = column(laid.places[*place].x);
            if laid.places[*place].node.is_some() && leaving(*place).next().is_some() {
                self.mark(x, top - 1, DOWN);
            }
            for (_, to) in leaving(*place) {
                let target = column(laid.places[*to].x);
                if target == x {
                    self.down(x, top, bottom);
                } else {
                    let turn = bent
                        .iter()
                        .position(|(sources, _)| sources.contains(&x))
                        .map_or(top, |row| top + 1 + row);
                    self.down(x, top, turn - 1);
                    self.mark(x, turn, UP);
                    let (left, right) = (x.min(target), x.max(target));
                    self.mark(left, turn, RIGHT);
                    (left + 1..right).for_each(|between| self.mark(between, turn, LEFT | RIGHT));
                    self.mark(right, turn, LEFT);
                    self.mark(target, turn, DOWN);
                    self.down(target, turn + 1, bottom);
                }
                if laid.places[*to].node.is_some() {
                    self.labels
                        .insert((bottom, target), ("▼".to_owned(), PLAIN));
                }
            }
        }
        bottom + 1
    }

    fn boxed(&mut self, node: &Node, left: usize, top: usize, width: usize) {
        let (right, bottom) = (left + width - 1, top + BOX_ROWS - 1);
        for x in left + 1..right {
            self.mark(x, top, LEFT | RIGHT);
            self.mark(x, bottom, LEFT | RIGHT);
        }
        for y in top + 1..bottom {
            self.mark(left, y, UP | DOWN);
            self.mark(right, y, UP | DOWN);
        }
        self.mark(left, top, DOWN | RIGHT);
        self.mark(right, top, DOWN | LEFT);
        self.mark(left, bottom, UP | RIGHT);
        self.mark(right, bottom, UP | LEFT);
        for (line, (text, style)) in node.lines().into_iter().zip([style(node), DIM]).enumerate() {
            let indent = (width - 2 - text.width()) / 2;
            self.labels
                .insert((top + 1 + line, left + 1 + indent), (text, style));
        }
    }

    fn mark(&mut self, x: usize, y: usize, directions: u8) {
        *self.lines.entry((y, x)).or_default() |= directions;
        self.rows = self.rows.max(y + 1);
    }

    fn down(&mut self, x: usize, from: usize, to: usize) {
        (from..=to).for_each(|y| self.mark(x, y, UP | DOWN));
    }

    fn render(&self) -> String {
        let columns = self.lines.keys().map(|(_, x)| x + 1).max().unwrap_or(0);
        let mut text = String::new();
        for y in 0..self.rows {
            let (mut x, mut blanks) = (0, 0);
            while x < columns {
                if let Some((label, style)) = self
                    .labels
                    .get(&(y, x))
                    .filter(|(label, _)| !label.is_empty())
                {
                    text.extend(std::iter::repeat_n(' ', std::mem::take(&mut blanks)));
                    text.push_str(&format!("{style}{label}{style:#}"));
                    x += label.width();
                    continue;
                }
                match self.lines.get(&(y, x)) {
                    None => blanks += 1,
                    Some(directions) => {
                        text.extend(std::iter::repeat_n(' ', std::mem::take(&mut blanks)));
                        text.push(piece(*directions));
                    }
                }
                x += 1;
            }
            text.push('\n');
        }
        text
    }
}

fn column(x: i32) -> usize {
    usize::try_from(x).unwrap_or(0)
}

fn piece(directions: u8) -> char {
    const PIECES: [char; 16] = [
        ' ', '│', '│', '│', '─', '┘', '┐', '┤', '─', '└', '┌', '├', '─', '┴', '┬', '┼',
    ];
    PIECES[usize::from(directions & 15)]
}

#[cfg(test)]
mod tests {
    use super::super::samples::graph;
    use super::*;

    fn drawn(edges: &str) -> String {
        anstream::adapter::strip_str(&draw(&graph(edges), 100)).to_string()
    }

    #[test]
    fn a_chain_is_a_line() {
        insta::assert_snapshot!(drawn("refine>generate>upscale"));
    }

    #[test]
    fn a_diamond_opens_and_closes() {
        insta::assert_snapshot!(drawn("a>left a>right left>b right>b"));
    }

    #[test]
    fn a_long_edge_passes_beside_the_boxes() {
        insta::assert_snapshot!(drawn("start>middle>next>end start>end"));
    }

    #[test]
    fn a_wide_fan_in_meets_in_one_arrow() {
        insta::assert_snapshot!(drawn("a>join b>join c>join d>join x>d"));
    }

    #[test]
    fn what_is_too_wide_is_listed() {
        let text = anstream::adapter::strip_str(&draw(&graph("a>left a>right left>b right>b"), 20))
            .to_string();
        assert!(text.contains("  3  b  task.b  after left, right"), "{text}");
    }
}
