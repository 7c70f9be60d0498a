//! Cycles: steps that wait for each other, and workflows that run each other.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use petgraph::graph::{DiGraph, NodeIndex};

use super::{Reader, place};
use crate::id::WorkflowName;
use crate::workflow::source::{Node, pointer};
use crate::workflow::{Step, StepAction, suggest};

/// The most workflows looked at to find one that runs itself.
const MAX_WORKFLOWS: usize = 1_000;

impl Reader<'_> {
    /// Reports one cycle for every knot in the graph: `a → b → a`.
    pub(super) fn check_graph(&mut self) {
        let mut graph: DiGraph<&str, usize> = DiGraph::new();
        let mut nodes: HashMap<&str, NodeIndex> = HashMap::new();
        for (i, edge) in self.edges.iter().enumerate() {
            let from = *nodes
                .entry(&edge.from)
                .or_insert_with(|| graph.add_node(&edge.from));
            let to = *nodes
                .entry(&edge.to)
                .or_insert_with(|| graph.add_node(&edge.to));
            graph.add_edge(from, to, i);
        }
        let mut problems = Vec::new();
        for knot in petgraph::algo::tarjan_scc(&graph) {
            if knot.len() < 2 {
                continue;
            }
            let knot: BTreeSet<NodeIndex> = knot.into_iter().collect();
            let Some(cycle) = shortest_cycle(&graph, &knot) else {
                continue;
            };
            let mut names: Vec<&str> = cycle
                .iter()
                .map(|edge| self.edges[*edge].from.as_str())
                .collect();
            names.extend(names.first().copied());
            let first = &self.edges[cycle[0]];
            problems.push((
                first.span,
                first.pointer.clone(),
                format!("these steps wait for each other: {}", shorten(&names)),
            ));
        }
        for (span, at, message) in problems {
            let help = "each arrow reads \"needs\"; remove one of these references".to_owned();
            self.report("cycle", span, &at, message, help);
        }
    }

    /// Whether the workflow that a step runs exists, and does not come back to this one.
    pub(super) fn check_recursion(&mut self, own: &WorkflowName, step: &Step, root: &Node) {
        let StepAction::Workflow(called) = &step.action else {
            return;
        };
        let at = if step.name.as_str() == "on_failure" {
            "/on_failure/workflow".to_owned()
        } else {
            pointer(&pointer("/steps", step.name.as_str()), "workflow")
        };
        let Some(entry) = root.nearest(&at).1 else {
            return;
        };
        if called == own {
            self.report(
                "recursion",
                place(entry),
                &at,
                format!("workflow `{own}` runs itself"),
                "a run that starts its like has no end; map a step with `foreach`".to_owned(),
            );
            return;
        }
        if self.catalog.workflow(called.as_str()).is_none() {
            let names = self.catalog.workflow_names();
            self.report(
                "unknown-workflow",
                place(entry),
                &at,
                format!("there is no workflow `{called}`"),
                suggest::help(called.as_str(), names.iter().map(String::as_str)),
            );
            return;
        }
        if let Some(path) = self.path_back(called.as_str(), own.as_str()) {
            let path: Vec<&str> = std::iter::once(own.as_str())
                .chain(path.iter().map(String::as_str))
                .collect();
            self.report(
                "recursion",
                place(entry),
                &at,
                format!("these workflows run each other: {}", shorten(&path)),
                "a run that starts its like has no end".to_owned(),
            );
        }
    }

    /// The way from one workflow to another through the steps that run workflows.
    fn path_back(&self, from: &str, to: &str) -> Option<Vec<String>> {
        let mut before: BTreeMap<String, String> = BTreeMap::new();
        let mut queue = VecDeque::from([from.to_owned()]);
        while let Some(name) = queue.pop_front() {
            if before.len() > MAX_WORKFLOWS {
                return None;
            }
            for next in self.catalog.workflow(&name)?.runs {
                if next == to {
                    let mut path = vec![to.to_owned(), name.clone()];
                    let mut at = name.as_str();
                    while let Some(previous) = before.get(at) {
                        path.push(previous.clone());
                        at = previous;
                    }
                    path.reverse();
                    return Some(path);
                }
                if next != from && !before.contains_key(next) {
                    before.insert(next.to_owned(), name.clone());
                    queue.push_back(next.to_owned());
                }
            }
        }
        None
    }
}

/// The edges of a shortest cycle through the first node of a knot.
fn shortest_cycle(graph: &DiGraph<&str, usize>, knot: &BTreeSet<NodeIndex>) -> Option<Vec<usize>> {
    use petgraph::visit::EdgeRef as _;
    let start = *knot.first()?;
    let mut came_by: HashMap<NodeIndex, (NodeIndex, usize)> = HashMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        // petgraph lists the youngest edge first; the file's order reads better.
        let mut edges: Vec<_> = graph.edges(node).collect();
        edges.reverse();
        for edge in edges {
            let next = edge.target();
            if next == start {
                let mut cycle = vec![*edge.weight()];
                let mut at = node;
                while let Some((previous, by)) = came_by.get(&at) {
                    cycle.push(*by);
                    at = *previous;
                }
                cycle.reverse();
                return Some(cycle);
            }
            if knot.contains(&next) && !came_by.contains_key(&next) {
                came_by.insert(next, (node, *edge.weight()));
                queue.push_back(next);
            }
        }
    }
    None
}

/// `a → b → a`; the middle of a long one is left out.
fn shorten(names: &[&str]) -> String {
    const SHOWN: usize = 12;
    if names.len() <= SHOWN {
        return names.join(" → ");
    }
    let half = SHOWN / 2;
    format!(
        "{} → … {} more … → {}",
        names[..half].join(" → "),
        names.len() - SHOWN,
        names[names.len() - half..].join(" → ")
    )
}
