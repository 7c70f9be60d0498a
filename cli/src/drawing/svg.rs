//! A drawing as SVG: self-contained, readable on light and dark ground.

use aquatint_engine::TaskState;
use unicode_width::UnicodeWidthStr;

use super::layout::layout;
use super::{Graph, Node};

const BOX_HEIGHT: i32 = 48;
const LAYER_GAP: i32 = 48;
const MARGIN: i32 = 16;
/// A monospaced character at 13 px.
const CHAR_WIDTH: i32 = 8;

/// Draws a graph.
pub(crate) fn draw(graph: &Graph) -> String {
    let laid = layout(graph, |node| width(&graph.boxes[node]), 24);
    let y_of = |depth: usize| MARGIN + i32::try_from(depth).unwrap_or(0) * (BOX_HEIGHT + LAYER_GAP);
    let mut depth_of = vec![0; laid.places.len()];
    for (depth, layer) in laid.layers.iter().enumerate() {
        layer.iter().for_each(|place| depth_of[*place] = depth);
    }
    let extra = graph.on_failure.as_ref().map(width);
    let rows = laid.layers.len() + usize::from(extra.is_some());
    let full_width = laid.width.max(extra.unwrap_or(0)) + 2 * MARGIN;
    let full_height = y_of(rows) - LAYER_GAP + MARGIN;

    let mut body = String::new();
    for (from, to) in &laid.links {
        let (x1, x2) = (laid.places[*from].x + MARGIN, laid.places[*to].x + MARGIN);
        // A bend is passed straight through, as a box would be.
        let y1 = y_of(depth_of[*from]) + BOX_HEIGHT;
        let y2 = y_of(depth_of[*to]);
        let (mid, arrow) = (i32::midpoint(y1, y2), laid.places[*to].node.is_some());
        let head = if arrow {
            " marker-end=\"url(#head)\""
        } else {
            ""
        };
        let tail = if arrow { y2 - 2 } else { y2 + BOX_HEIGHT };
        let on = if arrow {
            String::new()
        } else {
            format!(" L {x2} {tail}")
        };
        let y2 = if arrow { tail } else { y2 };
        body.push_str(&format!("  <path class=\"edge\" d=\"M {x1} {y1} C {x1} {mid}, {x2} {mid}, {x2} {y2}{on}\"{head}/>\n"));
    }
    for (place, depth) in laid.places.iter().zip(&depth_of) {
        if let Some(node) = place.node {
            let x = place.x - place.width / 2 + MARGIN;
            body.push_str(&boxed(&graph.boxes[node], x, y_of(*depth), ""));
        }
    }
    if let Some(step) = &graph.on_failure {
        body.push_str(&boxed(step, MARGIN, y_of(laid.layers.len()), " aside"));
    }
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {full_width} {full_height}" width="{full_width}" height="{full_height}" role="img">
  <title>{title}</title>
  <style>
    .box {{ fill: #ffffff; stroke: #57606a; }}
    .aside {{ stroke-dasharray: 4 3; }}
    .edge {{ fill: none; stroke: #8c959f; stroke-width: 1.5; }}
    .head {{ fill: #8c959f; }}
    text {{ font: 13px ui-monospace, monospace; text-anchor: middle; fill: #1f2328; }}
    .detail {{ font-size: 11px; fill: #57606a; }}
    .succeeded {{ fill: #dafbe1; stroke: #1a7f37; }}
    .failed {{ fill: #ffebe9; stroke: #cf222e; }}
    .running {{ fill: #ddf4ff; stroke: #0969da; }}
    .retrying, .cancelled {{ fill: #fff8c5; stroke: #9a6700; }}
    .blocked, .skipped {{ fill: #f6f8fa; stroke: #afb8c1; }}
  </style>
  <defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path class="head" d="M 0 0 L 8 4 L 0 8 z"/></marker></defs>
{body}</svg>
"##,
        title = escape(&graph.name),
    )
}

fn width(node: &Node) -> i32 {
    let [title, detail] = node.lines();
    let columns = title.width().max(detail.width() * 11 / 13 + 1);
    i32::try_from(columns).unwrap_or(1_000) * CHAR_WIDTH + 24
}

fn boxed(node: &Node, x: i32, y: i32, class: &str) -> String {
    let [title, detail] = node.lines();
    let state = node
        .state
        .as_ref()
        .map_or("", |(state, _)| TaskState::as_str(*state));
    let (w, cx) = (width(node), x + width(node) / 2);
    let (title_y, detail_y) = (y + 20, y + 37);
    format!(
        "  <rect class=\"box {state}{class}\" x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{BOX_HEIGHT}\" rx=\"6\"/>\n  <text x=\"{cx}\" y=\"{title_y}\">{}</text>\n  <text class=\"detail\" x=\"{cx}\" y=\"{detail_y}\">{}</text>\n",
        escape(&title),
        escape(&detail)
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::samples::graph;
    use super::*;

    #[test]
    fn every_step_and_edge_is_there_and_names_are_escaped() {
        let mut graph = graph("a>left a>right left>b right>b a>b");
        graph.boxes[0].title = "<script>&\"".to_owned();
        let svg = draw(&graph);
        assert_eq!(svg.matches("<rect").count(), 4);
        // Four edges of one layer, and one over two in two pieces.
        assert_eq!(svg.matches("class=\"edge\"").count(), 6);
        assert!(svg.contains("&lt;script&gt;&amp;&quot;") && !svg.contains("<script>"));
    }
}
