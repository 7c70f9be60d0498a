//! Definition files, good and bad: what is accepted, and what is said of the rest.
#![expect(clippy::unwrap_used, reason = "tests")]

use aquatint_engine::workflow::{AnyCatalog, Plan, Source, Workflow};

#[test]
fn the_first_example_compiles_to_a_chain() {
    let text = include_str!("definitions/good/image-generation.yaml");
    let source = Source {
        file: "image-generation.yaml",
        text,
    };
    let workflow =
        Workflow::parse(&source, &AnyCatalog).unwrap_or_else(|e| panic!("{}", e.render(false)));
    let again = Workflow::from_json(&workflow.to_json()).unwrap();
    assert_eq!(workflow, again);
    let plan = Plan::compile(&again).unwrap();
    assert_eq!(plan.roots, [0]);
    assert_eq!(plan.sink, Some(2));
    assert_eq!(plan.steps[1].needs, [0]);
    assert_eq!(plan.steps[1].successors, [2]);
    println!("{}", workflow.to_json());
}
