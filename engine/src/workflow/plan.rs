//! A workflow made ready to run: expressions parsed, names resolved to
//! indices, edges in both directions.
//!
//! A plan is compiled once per process and version and shared by all runs of
//! it. Settling a step asks it one thing, `steps[i].successors`, whatever the
//! size of the graph.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::expr::{Budget, ExprError, Expression, References, Scope, Template, kind_of};
use super::inputs::InputSchema;
use super::{MAX_ITEMS, MAX_STEPS, Step, StepAction, Workflow, suggest};
use crate::id::{QueueName, StepName, TaskName, WorkflowName};
use crate::permission::Permission;
use crate::retry::RetryPolicy;

pub use super::{FailMode, OnFailure};

/// A step's place in [`Plan::steps`].
pub type StepIndex = u32;

/// The queue of steps that the engine itself evaluates.
pub const CONTROL_QUEUE: &str = "control";

/// A compiled workflow. Share it as `Arc<Plan>`.
#[derive(Debug)]
#[non_exhaustive]
pub struct Plan {
    /// The workflow's name.
    pub name: WorkflowName,
    /// The workflow's version, [`Workflow::version`].
    pub version: String,
    /// The steps in the order of the file; hidden ones follow.
    pub steps: Vec<PlanStep>,
    /// Checks what a run is given.
    pub inputs: InputSchema,
    /// What the run returns: one object.
    pub outputs: Option<Template>,
    /// The step after which the outputs can be evaluated; set when there are outputs.
    pub sink: Option<StepIndex>,
    /// The hidden step that runs when the run fails. Its expressions may name any
    /// step; one that has no result then must be given as null.
    pub on_failure: Option<StepIndex>,
    /// Steps that need no other, so that a run begins with them.
    pub roots: Vec<StepIndex>,
    /// Runs for which the template gives the same value share the limit.
    pub concurrency: Option<(Template, u32)>,
    /// How long a run may take in all.
    pub timeout: Option<Duration>,
    /// How long finished runs are kept.
    pub retention: Option<Duration>,
    /// How many task runs of one run may run at a time.
    pub max_parallel: Option<u32>,
    /// Whether a step asks more of its worker than to serve the queue.
    pub is_picky: bool,
    /// What running it takes, beyond what its tasks say.
    pub scope: Permission,
    by_name: HashMap<StepName, StepIndex>,
}

/// One compiled step.
#[derive(Debug)]
#[non_exhaustive]
pub struct PlanStep {
    /// The step's name.
    pub name: StepName,
    /// What it runs.
    pub action: Action,
    /// The lane it waits in.
    pub queue: QueueName,
    /// Higher goes first.
    pub priority: i32,
    /// JSON list of labels that its worker must have.
    pub requires: Option<Arc<str>>,
    /// JSON list of words for what it would like to find loaded.
    pub prefers: Option<Arc<str>>,
    /// Memory that its worker must have free.
    pub memory_bytes: Option<u64>,
    /// When an attempt is stopped.
    pub timeout: Duration,
    /// When an attempt is asked to finish; shorter than `timeout`.
    pub soft_timeout: Option<Duration>,
    /// What happens when an attempt fails.
    pub retry: RetryPolicy,
    /// Whether an earlier result for the same input may be used.
    pub cache: bool,
    /// What its failure means for the run.
    pub on_failure: OnFailure,
    /// When it is false, the step is skipped.
    pub when: Option<Expression>,
    /// The step is run once per item.
    pub map: Option<Mapping>,
    /// What the task is given.
    pub with: Template,
    /// Direct predecessors, ascending.
    pub needs: Vec<StepIndex>,
    /// Direct successors, ascending.
    pub successors: Vec<StepIndex>,
    /// What `when`, `map` and `with` read, taken together.
    pub references: References,
}

/// What a compiled step runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Code.
    Task(TaskName),
    /// Another workflow, as a run of its own.
    Workflow(WorkflowName),
    /// The hidden step that evaluates the run's outputs.
    Outputs,
}

/// How a step is multiplied.
#[derive(Debug)]
#[non_exhaustive]
pub struct Mapping {
    /// Where the items come from.
    pub over: MapSource,
    /// How many of them may run at a time.
    pub max_parallel: Option<u32>,
    /// What a failed item means for the step.
    pub fail: FailMode,
}

/// Where the items of a mapped step come from.
#[derive(Debug)]
pub enum MapSource {
    /// A template that gives a list.
    Foreach(Template),
    /// The product of lists, by name.
    Matrix(Vec<(String, Template)>),
}

/// Why a workflow cannot be compiled. Definitions that passed the check compile;
/// a pinned one may come from another version of this program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", step.as_ref().map(|s| format!("step `{s}`: ")).unwrap_or_default())]
pub struct PlanError {
    /// The step that is wrong, if it is one.
    pub step: Option<StepName>,
    /// What is wrong.
    pub message: String,
}

impl PlanError {
    fn of(step: &StepName, message: impl Into<String>) -> Self {
        Self {
            step: Some(step.clone()),
            message: message.into(),
        }
    }
}

impl Mapping {
    /// The items, in order. A matrix gives objects `{name: value}`, the last list turning fastest.
    ///
    /// # Errors
    /// [`ExprError`] when an expression fails, gives no list, or there would be
    /// more than [`MAX_ITEMS`] items.
    pub fn items(&self, scope: &Scope, budget: &mut Budget) -> Result<Vec<Value>, ExprError> {
        match &self.over {
            MapSource::Foreach(template) => list(template, scope, budget, "foreach"),
            MapSource::Matrix(lists) => {
                let mut items = vec![Map::new()];
                for (name, template) in lists {
                    let values = list(template, scope, budget, name)?;
                    let count = items.len().saturating_mul(values.len());
                    if count > MAX_ITEMS {
                        return Err(too_many(count));
                    }
                    let mut product = Vec::with_capacity(count);
                    for item in &items {
                        for value in &values {
                            let mut combination = budget.copy_fields(item)?;
                            combination.insert(name.clone(), budget.copy(value)?);
                            product.push(combination);
                        }
                    }
                    items = product;
                }
                Ok(items.into_iter().map(Value::Object).collect())
            }
        }
    }
}

fn too_many(count: usize) -> ExprError {
    ExprError::new(format!("{count} items; {MAX_ITEMS} are the most"))
        .help("split the work over several runs")
}

fn list(
    template: &Template,
    scope: &Scope,
    budget: &mut Budget,
    what: &str,
) -> Result<Vec<Value>, ExprError> {
    match template.evaluate(scope, budget)? {
        Value::Array(items) if items.len() <= MAX_ITEMS => Ok(items),
        Value::Array(items) => Err(too_many(items.len())),
        other => Err(
            ExprError::new(format!("`{what}` must be a list, got {}", kind_of(&other)))
                .help("let an expression give a list, as in `${{ steps.split.parts }}`"),
        ),
    }
}

impl Plan {
    /// Compiles a definition.
    ///
    /// # Errors
    /// [`PlanError`] names the step that is wrong. A definition from
    /// [`Workflow::parse`] always compiles.
    pub fn compile(workflow: &Workflow) -> Result<Self, PlanError> {
        let whole = |message: String| PlanError {
            step: None,
            message,
        };
        if workflow.steps.is_empty() || workflow.steps.len() > MAX_STEPS {
            return Err(whole(format!(
                "expected 1 to {MAX_STEPS} steps, got {}",
                workflow.steps.len()
            )));
        }
        let mut by_name = HashMap::with_capacity(workflow.steps.len() + 2);
        for (index, step) in (0..).zip(&workflow.steps) {
            if by_name.insert(step.name.clone(), index).is_some() {
                return Err(PlanError::of(&step.name, "the name is taken twice"));
            }
        }
        let mut steps = workflow
            .steps
            .iter()
            .map(|step| compile(step, &by_name))
            .collect::<Result<Vec<_>, _>>()?;
        connect(&mut steps)?;
        let roots = (0..)
            .zip(&steps)
            .filter(|(_, step)| step.needs.is_empty())
            .map(|(index, _)| index)
            .collect();
        let template = |what: &str, source: Value| {
            Template::parse(source).map_err(|error| whole(format!("`{what}`: {error}")))
        };
        let outputs = if workflow.outputs.is_empty() {
            None
        } else {
            let outputs = template("outputs", Value::Object(workflow.outputs.clone()))?;
            known(outputs.references(), &by_name).map_err(whole)?;
            Some(outputs)
        };
        let sink = outputs.as_ref().map(|_| sink(&mut steps, &mut by_name));
        let on_failure = match &workflow.on_failure {
            None => None,
            Some(step) => {
                let mut compiled = compile(step, &by_name)?;
                // It runs whenever the run has failed, whatever has run before.
                compiled.needs.clear();
                Some(push(&mut steps, &mut by_name, compiled))
            }
        };
        Ok(Self {
            name: workflow.name.clone(),
            version: workflow.version(),
            inputs: InputSchema::compile(&workflow.inputs).map_err(whole)?,
            outputs,
            sink,
            on_failure,
            roots,
            concurrency: workflow
                .concurrency
                .as_ref()
                .map(|c| Ok((template("concurrency", c.key.clone())?, c.limit)))
                .transpose()?,
            timeout: workflow.timeout_ms.map(Duration::from_millis),
            retention: workflow.retention_ms.map(Duration::from_millis),
            max_parallel: workflow.max_parallel,
            is_picky: steps
                .iter()
                .any(|s| s.requires.is_some() || s.memory_bytes.is_some()),
            scope: workflow.scope,
            by_name,
            steps,
        })
    }

    /// A step's index, hidden ones included.
    #[must_use]
    pub fn step_index(&self, name: &str) -> Option<StepIndex> {
        self.by_name.get(name).copied()
    }

    /// The step of an index.
    #[must_use]
    pub fn step(&self, index: StepIndex) -> Option<&PlanStep> {
        self.steps.get(usize::try_from(index).ok()?)
    }
}

/// As JSON text, where there is anything.
fn listed(words: &[String]) -> Option<Arc<str>> {
    (!words.is_empty()).then(|| {
        let list = serde_json::to_string(words);
        list.expect("texts are always JSON").into()
    })
}

fn compile(step: &Step, by_name: &HashMap<StepName, StepIndex>) -> Result<PlanStep, PlanError> {
    let wrong = |what: &'static str| move |error: ExprError| (what, error);
    let compiled = || -> Result<_, (&'static str, ExprError)> {
        let with = Template::parse(step.with.clone()).map_err(wrong("with"))?;
        let when = step
            .when
            .as_deref()
            .map(Expression::parse)
            .transpose()
            .map_err(wrong("when"))?;
        let over = match (&step.foreach, &step.matrix) {
            (Some(list), _) => Some(MapSource::Foreach(
                Template::parse(list.clone()).map_err(wrong("foreach"))?,
            )),
            (None, Some(lists)) => Some(MapSource::Matrix(
                lists
                    .iter()
                    .map(|(name, list)| Ok((name.clone(), Template::parse(list.clone())?)))
                    .collect::<Result<_, ExprError>>()
                    .map_err(wrong("matrix"))?,
            )),
            (None, None) => None,
        };
        Ok((with, when, over))
    };
    let (with, when, over) = compiled()
        .map_err(|(what, error)| PlanError::of(&step.name, format!("`{what}`: {error}")))?;
    let mut references = with.references().clone();
    if let Some(when) = &when {
        references.merge(when.references());
    }
    match &over {
        None => {}
        Some(MapSource::Foreach(list)) => references.merge(list.references()),
        Some(MapSource::Matrix(lists)) => {
            lists
                .iter()
                .for_each(|(_, l)| references.merge(l.references()));
        }
    }
    known(&references, by_name).map_err(|message| PlanError::of(&step.name, message))?;
    let mut needs = references
        .steps
        .iter()
        .map(String::as_str)
        .chain(step.needs.iter().map(StepName::as_str))
        .map(|name| {
            by_name
                .get(name)
                .copied()
                .ok_or_else(|| PlanError::of(&step.name, unknown(name, by_name)))
        })
        .collect::<Result<Vec<_>, _>>()?;
    needs.sort_unstable();
    needs.dedup();
    Ok(PlanStep {
        name: step.name.clone(),
        action: match &step.action {
            StepAction::Task(task) => Action::Task(task.clone()),
            StepAction::Workflow(workflow) => Action::Workflow(workflow.clone()),
        },
        queue: step.queue.clone(),
        priority: step.priority,
        requires: listed(&step.requires),
        prefers: listed(&step.prefer),
        memory_bytes: step.memory_bytes,
        timeout: Duration::from_millis(step.timeout_ms),
        soft_timeout: step.soft_timeout_ms.map(Duration::from_millis),
        retry: step.retry.clone(),
        cache: step.cache,
        on_failure: step.on_failure,
        when,
        map: over.map(|over| Mapping {
            over,
            max_parallel: step.max_parallel,
            fail: step.fail,
        }),
        with,
        needs,
        successors: Vec::new(),
        references,
    })
}

fn unknown(name: &str, by_name: &HashMap<StepName, StepIndex>) -> String {
    let help = suggest::help(name, by_name.keys().map(StepName::as_str));
    format!(
        "there is no step `{name}`{}",
        help.map(|h| format!(" ({h})")).unwrap_or_default()
    )
}

fn known(references: &References, by_name: &HashMap<StepName, StepIndex>) -> Result<(), String> {
    match references
        .steps
        .iter()
        .find(|s| !by_name.contains_key(s.as_str()))
    {
        Some(stranger) => Err(unknown(stranger, by_name)),
        None => Ok(()),
    }
}

/// Fills in the successors; a graph with a cycle has no order to run in.
fn connect(steps: &mut [PlanStep]) -> Result<(), PlanError> {
    let mut waiting: Vec<usize> = Vec::with_capacity(steps.len());
    for at in 0..steps.len() {
        let needs = steps[at].needs.clone();
        waiting.push(needs.len());
        for need in needs {
            let index = StepIndex::try_from(at).expect("at most MAX_STEPS steps");
            steps[usize::try_from(need).expect("an index fits")]
                .successors
                .push(index);
        }
    }
    let mut free: Vec<usize> = (0..steps.len()).filter(|&at| waiting[at] == 0).collect();
    let mut ordered = 0;
    while let Some(at) = free.pop() {
        ordered += 1;
        for &next in &steps[at].successors {
            let next = usize::try_from(next).expect("an index fits");
            waiting[next] -= 1;
            if waiting[next] == 0 {
                free.push(next);
            }
        }
    }
    if ordered == steps.len() {
        return Ok(());
    }
    let stuck = (0..steps.len()).find(|&at| waiting[at] > 0);
    Err(PlanError {
        step: stuck.map(|at| steps[at].name.clone()),
        message: "it waits for itself, through the steps it needs".to_owned(),
    })
}

fn push(
    steps: &mut Vec<PlanStep>,
    by_name: &mut HashMap<StepName, StepIndex>,
    step: PlanStep,
) -> StepIndex {
    let index = StepIndex::try_from(steps.len()).expect("at most MAX_STEPS steps and two");
    by_name.insert(step.name.clone(), index);
    steps.push(step);
    index
}

/// The steps after which all have ended: the leaves, and what a leaf does not vouch for.
///
/// A step that is skipped because one of its predecessors failed ends while the
/// others may still run.
fn ends_of(steps: &[PlanStep], leaves: &[StepIndex]) -> Vec<StepIndex> {
    let at = |index: StepIndex| usize::try_from(index).expect("an index fits");
    let mut may_be_skipped = vec![false; steps.len()];
    let skipping = steps.iter().filter(|s| s.on_failure == OnFailure::Skip);
    let mut todo: Vec<StepIndex> = skipping.flat_map(|s| s.successors.clone()).collect();
    while let Some(next) = todo.pop() {
        if !std::mem::replace(&mut may_be_skipped[at(next)], true) {
            todo.extend(&steps[at(next)].successors);
        }
    }
    let hasty =
        (0..steps.len()).filter(|&step| may_be_skipped[step] && steps[step].needs.len() > 1);
    let mut ends: Vec<StepIndex> = hasty.flat_map(|step| steps[step].needs.clone()).collect();
    ends.extend(leaves);
    ends.sort_unstable();
    ends.dedup();
    ends
}

/// The step whose worker evaluates the outputs: the one that all others precede,
/// if it always runs, and exactly once; else a hidden step after all others.
fn sink(steps: &mut Vec<PlanStep>, by_name: &mut HashMap<StepName, StepIndex>) -> StepIndex {
    let leaves: Vec<StepIndex> = (0..)
        .zip(steps.iter())
        .filter(|(_, step)| step.successors.is_empty())
        .map(|(index, _)| index)
        .collect();
    // In a graph without cycles every step leads to some leaf, so one leaf alone
    // follows everything.
    if let [only] = leaves.as_slice()
        && let Some(step) = usize::try_from(*only).ok().and_then(|at| steps.get(at))
        && step.map.is_none()
        && step.when.is_none()
        && step.on_failure == OnFailure::Fail
        && matches!(step.action, Action::Task(_))
        && steps.iter().all(|step| step.on_failure != OnFailure::Skip)
    {
        return *only;
    }
    let waits_for = ends_of(steps, &leaves);
    let index = StepIndex::try_from(steps.len()).expect("at most MAX_STEPS steps");
    for before in &waits_for {
        if let Some(step) = usize::try_from(*before)
            .ok()
            .and_then(|at| steps.get_mut(at))
        {
            step.successors.push(index);
        }
    }
    let hidden = PlanStep {
        name: StepName::new("outputs").expect("a step name"),
        action: Action::Outputs,
        queue: QueueName::new(CONTROL_QUEUE).expect("a queue name"),
        priority: 0,
        requires: None,
        prefers: None,
        memory_bytes: None,
        timeout: Duration::from_secs(60),
        soft_timeout: None,
        retry: RetryPolicy::default(),
        cache: false,
        on_failure: OnFailure::Fail,
        when: None,
        map: None,
        with: Template::parse(Value::Object(Map::new())).expect("an empty object is a template"),
        needs: waits_for,
        successors: Vec::new(),
        references: References::default(),
    };
    push(steps, by_name, hidden)
}
