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

/// Begins by itself, whatever happens to those who look after it.
pub(crate) const TICK: (&str, &str) = (
    "tick",
    "name: tick
schedule: { every: 1s, overlap: allow, misfire: catch_up }
steps:
  a: { task: core.echo, with: { value: 1 } }
",
);

/// Programs that do nothing for long, and tell where.
pub(crate) const PROGRAMS: &str = "/bin/sleep:/bin/sh";

/// Work that takes its time, and whose result tells which attempt it is of: by its scratch folder.
pub(crate) const SLOW: (&str, &str) = (
    "slow",
    "name: slow
inputs: { n: integer, seconds: number }
steps:
  work: { task: command.run, queue: gpu, with: { program: /bin/sh, args: ['-c', 'sleep ${{ inputs.seconds }}; pwd'] } }
outputs: { folder: '${{ steps.work.stdout }}' }
",
);

/// The attempt that made such a result.
pub(crate) fn attempt_of(output: Option<&Value>) -> Option<i64> {
    let folder = output?["folder"].as_str()?;
    folder.trim().rsplit('-').next()?.parse().ok()
}

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
