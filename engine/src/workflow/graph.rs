//! A plan as a drawing: layers for the terminal and SVG, and DOT.

use std::fmt::Write as _;

use petgraph::graph::{DiGraph, NodeIndex};

use super::plan::{Action, Plan, PlanStep, StepIndex};

/// The plan as a petgraph; a node's weight is its step's index.
#[must_use]
pub fn graph(plan: &Plan) -> DiGraph<StepIndex, ()> {
    let mut graph = DiGraph::with_capacity(plan.steps.len(), plan.steps.len());
    let nodes: Vec<NodeIndex> = (0..)
        .zip(&plan.steps)
        .map(|(index, _)| graph.add_node(index))
        .collect();
    for (step, to) in plan.steps.iter().zip(&nodes) {
        for need in &step.needs {
            if let Some(from) = usize::try_from(*need).ok().and_then(|at| nodes.get(at)) {
                graph.add_edge(*from, *to, ());
            }
        }
    }
    graph
}

/// The steps in layers: each as early as its longest path from a root allows.
/// The hidden `on_failure` step stands in none.
#[must_use]
pub fn layers(plan: &Plan) -> Vec<Vec<StepIndex>> {
    let graph = graph(plan);
    let order = petgraph::algo::toposort(&graph, None).unwrap_or_default();
    let mut depth = vec![0_usize; graph.node_count()];
    let mut layers: Vec<Vec<StepIndex>> = Vec::new();
    for node in order {
        let own = graph
            .neighbors_directed(node, petgraph::Direction::Incoming)
            .map(|before| depth[before.index()] + 1)
            .max()
            .unwrap_or(0);
        depth[node.index()] = own;
        if plan.on_failure == Some(graph[node]) {
            continue;
        }
        if layers.len() <= own {
            layers.resize_with(own + 1, Vec::new);
        }
        layers[own].push(graph[node]);
    }
    // The order of the file within a layer, whatever the sort preferred.
    layers.iter_mut().for_each(|layer| layer.sort_unstable());
    layers
}

/// The plan in Graphviz' language.
#[must_use]
pub fn dot(plan: &Plan) -> String {
    let mut text = format!("digraph {} {{\n  rankdir=LR;\n", quoted(plan.name.as_str()));
    for (index, step) in (0..).zip(&plan.steps) {
        let _ = writeln!(
            text,
            "  {} [label={}, shape={}{}];",
            quoted(step.name.as_str()),
            quoted(&label(step)),
            if step.map.is_some() { "box3d" } else { "box" },
            if plan.on_failure == Some(index) {
                ", style=dashed"
            } else {
                ""
            }
        );
    }
    for step in &plan.steps {
        for need in &step.needs {
            if let Some(need) = plan.step(*need) {
                let _ = writeln!(
                    text,
                    "  {} -> {};",
                    quoted(need.name.as_str()),
                    quoted(step.name.as_str())
                );
            }
        }
    }
    text.push_str("}\n");
    text
}

fn label(step: &PlanStep) -> String {
    match &step.action {
        Action::Task(task) => format!("{}\n{task}", step.name),
        Action::Workflow(workflow) => format!("{}\nworkflow {workflow}", step.name),
        Action::Outputs => step.name.to_string(),
    }
}

fn quoted(text: &str) -> String {
    let text = text
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("\"{text}\"")
}
