//! What the workers are given to do, and what must come of it.

use serde_json::{Value, json};

/// A chain, a fan-out with a finalize, a batch of sub-workflows, and pictures on disk.
pub(crate) const DEFINITIONS: [(&str, &str); 4] = [
    (
        "hops",
        "name: hops
inputs: { n: integer }
steps:
  a: { task: core.echo, with: { value: '${{ inputs.n }}' } }
  b: { task: core.sleep, needs: [a], with: { duration: 60ms } }
  c: { task: core.echo, needs: [b], with: { value: '${{ steps.a.value + 1 }}' } }
outputs: { n: '${{ steps.c.value }}' }
",
    ),
    (
        "fan",
        "name: fan
inputs: { n: integer }
steps:
  each: { task: core.echo, foreach: '${{ range(12) }}', max_parallel: 5, with: { value: '${{ item + inputs.n }}' } }
  all: { task: core.echo, with: { value: '${{ steps.each.map(r, r.output.value) }}' } }
outputs: { values: '${{ steps.all.value }}' }
",
    ),
    (
        "nest",
        "name: nest
inputs: { n: integer }
steps:
  sub: { workflow: hops, foreach: '${{ [1, 2] }}', with: { n: '${{ inputs.n + item }}' } }
outputs: { values: '${{ steps.sub.map(r, r.output.n) }}' }
",
    ),
    (
        "picture",
        "name: picture
inputs: { n: integer }
steps:
  paint: { task: image.generate, with: { prompt: a lake at dawn, seed: '${{ inputs.n }}', width: 64, height: 64 } }
  twice: { task: image.upscale, with: { image: '${{ steps.paint.image }}' } }
outputs: { width: '${{ steps.twice.width }}' }
",
    ),
];

/// A program that does nothing for long.
pub(crate) const SLEEP: &str = "/bin/sleep";

/// Work that shows from outside for how long it goes on: a process.
pub(crate) const ENDLESS: (&str, &str) = (
    "endless",
    "name: endless
steps:
  wait: { task: command.run, with: { program: /bin/sleep, args: ['600'] } }
",
);

/// What a workflow answers when it was given `n`.
pub(crate) fn expected(workflow: &str, n: i64) -> Value {
    match workflow {
        "hops" => json!({ "n": n + 1 }),
        "fan" => json!({ "values": (0..12).map(|item| item + n).collect::<Vec<_>>() }),
        "nest" => json!({ "values": [n + 2, n + 3] }),
        _ => json!({ "width": 128 }),
    }
}
