//! A workflow as a drawing: for the terminal and as SVG.
//!
//! ```text
//! plan ─▶ Graph (boxes, layers) ─▶ layout (places) ─▶ text | svg
//! ```

mod layout;
pub(crate) mod svg;
pub(crate) mod text;

use std::collections::HashMap;

use aquatint_engine::TaskState;
use aquatint_engine::store::TaskView;
use aquatint_engine::workflow::{Action, Plan, graph};

/// What is to be drawn.
#[derive(Debug)]
pub(crate) struct Graph {
    pub(crate) name: String,
    pub(crate) boxes: Vec<Node>,
    /// Boxes by layer, from the first steps to the last.
    pub(crate) layers: Vec<Vec<usize>>,
    /// From, to: indices into `boxes`.
    pub(crate) edges: Vec<(usize, usize)>,
    /// The step that runs only when the run fails; it hangs on nothing.
    pub(crate) on_failure: Option<Node>,
}

/// A step as a box.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) title: String,
    pub(crate) detail: String,
    /// In a run: where it is, with a remark.
    pub(crate) state: Option<(TaskState, String)>,
}

impl Graph {
    /// A plan's steps; with those of a run, what has become of them.
    pub(crate) fn new(plan: &Plan, tasks: &[TaskView]) -> Self {
        let mut at = HashMap::new();
        let mut boxes = Vec::new();
        for (index, step) in (0..).zip(&plan.steps) {
            if step.action != Action::Outputs && plan.on_failure != Some(index) {
                at.insert(index, boxes.len());
                boxes.push(node(plan, index, tasks));
            }
        }
        let layers: Vec<Vec<usize>> = graph::layers(plan)
            .iter()
            .map(|layer| {
                layer
                    .iter()
                    .filter_map(|index| at.get(index).copied())
                    .collect()
            })
            .filter(|layer: &Vec<usize>| !layer.is_empty())
            .collect();
        let mut edges = Vec::new();
        for (index, step) in (0..).zip(&plan.steps) {
            for need in &step.needs {
                if let (Some(from), Some(to)) = (at.get(need), at.get(&index)) {
                    edges.push((*from, *to));
                }
            }
        }
        let on_failure = plan.on_failure.map(|index| node(plan, index, tasks));
        Self {
            name: plan.name.to_string(),
            boxes,
            layers,
            edges,
            on_failure,
        }
    }
}

fn node(plan: &Plan, index: u32, tasks: &[TaskView]) -> Node {
    let step = plan.step(index).expect("an index of the same plan");
    let mut detail = match &step.action {
        Action::Task(task) => task.to_string(),
        Action::Workflow(workflow) => format!("workflow {workflow}"),
        Action::Outputs => String::new(),
    };
    if step.map.is_some() {
        detail.push_str(" for each");
    }
    if step.when.is_some() {
        detail.push_str(" (when)");
    }
    let state = tasks
        .iter()
        .find(|t| t.step_index == index && t.item.is_none())
        .map(|task| {
            let remark = if task.items > 0 {
                format!("{}/{}", task.items - task.open_items, task.items)
            } else {
                String::new()
            };
            (task.state, remark)
        });
    Node {
        title: step.name.to_string(),
        detail,
        state,
    }
}

impl Node {
    /// The lines in the box, and whether the second is there.
    fn lines(&self) -> [String; 2] {
        let title = match &self.state {
            Some((state, remark)) if remark.is_empty() => {
                format!("{} {}", sign(*state), self.title)
            }
            Some((state, remark)) => format!("{} {} {remark}", sign(*state), self.title),
            None => self.title.clone(),
        };
        [title, self.detail.clone()]
    }
}

/// A sign for a state, legible without colour.
pub(crate) fn sign(state: TaskState) -> &'static str {
    match state {
        TaskState::Blocked => "·",
        TaskState::Ready => "○",
        TaskState::Running => "▶",
        TaskState::Retrying => "↻",
        TaskState::Succeeded => "✓",
        TaskState::Failed => "✗",
        TaskState::Skipped => "–",
        TaskState::Cancelled => "⊘",
    }
}

#[cfg(test)]
pub(crate) mod samples {
    use super::*;

    /// A graph from `from>to` words; boxes in layers by longest path.
    pub(crate) fn graph(text: &str) -> Graph {
        let mut names: Vec<&str> = Vec::new();
        let mut edges = Vec::new();
        for edge in text.split_whitespace() {
            let ends: Vec<usize> = edge
                .split('>')
                .map(|name| {
                    names.iter().position(|n| *n == name).unwrap_or_else(|| {
                        names.push(name);
                        names.len() - 1
                    })
                })
                .collect();
            edges.extend(ends.windows(2).map(|pair| (pair[0], pair[1])));
        }
        let mut depth = vec![0; names.len()];
        for _ in &names {
            for (from, to) in &edges {
                depth[*to] = depth[*to].max(depth[*from] + 1);
            }
        }
        let mut layers = vec![Vec::new(); depth.iter().max().map_or(0, |d| d + 1)];
        depth
            .iter()
            .enumerate()
            .for_each(|(node, layer)| layers[*layer].push(node));
        let node = |name: &&str| Node {
            title: (*name).to_owned(),
            detail: format!("task.{name}"),
            state: None,
        };
        Graph {
            name: "sample".to_owned(),
            boxes: names.iter().map(node).collect(),
            layers,
            edges,
            on_failure: None,
        }
    }
}
