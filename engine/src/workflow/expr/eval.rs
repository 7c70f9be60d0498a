//! Evaluating what is more than a path.
//!
//! An evaluator of our own over CEL's language: the `cel` crate parses, but its
//! interpreter has no limits. Here every node costs a step, and whatever is
//! made is charged before it is allocated, so an expression ends in a value or
//! in an error, never in a process out of memory.

use std::rc::Rc;

use serde_json::Value;

use super::budget::Budget;
use super::program::{Binary, Body, Call, Fault, Fold, Node, shortened};
use super::scope::{Scope, StepResult};
use super::value::{Key, Text, Val, whole};
use super::{ExprError, Root, explain, functions};

pub(super) fn evaluate(
    program: &Node,
    scope: &Scope,
    budget: &mut Budget,
) -> Result<Value, ExprError> {
    let mut evaluator = Evaluator {
        scope,
        budget,
        locals: Vec::new(),
    };
    let value = evaluator.value(program);
    let result = value.and_then(|value| value.into_json(evaluator.budget, 0));
    match (budget.spent(), result) {
        // Whatever else went wrong on the way.
        (Some(spent), _) => Err(spent.into()),
        (None, Ok(value)) => Ok(value),
        (None, Err(fault)) => Err(explain::explain(fault)),
    }
}

pub(super) struct Evaluator<'a, 'b> {
    scope: &'a Scope,
    pub(super) budget: &'b mut Budget,
    /// Variables of the comprehensions around.
    locals: Vec<Val<'a>>,
}

type Evaluated<'a> = Result<Val<'a>, Fault>;

impl<'a> Evaluator<'a, '_> {
    fn value(&mut self, node: &'a Node) -> Evaluated<'a> {
        self.budget.step()?;
        match node {
            Node::Null => Ok(Val::Null),
            Node::Bool(boolean) => Ok(Val::Bool(*boolean)),
            Node::Int(int) => Ok(Val::Int(*int)),
            Node::UInt(uint) => Ok(Val::UInt(*uint)),
            Node::Double(double) => Ok(Val::Double(*double)),
            Node::Text(text) => Ok(Val::Text(Text::Borrowed(text))),
            Node::Bytes(bytes) => self.bytes(bytes),
            Node::Type(name) => Ok(Val::Type(name)),
            Node::Local(place) => self.local(*place),
            Node::Input(name) => self.input(name),
            Node::HasInput(name) => Ok(Val::Bool(self.scope.input(name).is_some())),
            Node::Step(name) => self.step(name),
            Node::StepSize(name) => self.step_size(name),
            Node::Root(root) => self.root(*root),
            Node::InputAt(key) => self.input_at(key),
            Node::Select(of, field) => self.select(of, field),
            Node::Has(of, field) => self.has(of, field),
            Node::Index(pair) => self.index(pair),
            Node::Not(operand) => self.not(operand),
            Node::Negate(operand) => self.negate(operand),
            Node::NotStrictlyFalse(operand) => self.not_strictly_false(operand),
            Node::If(parts) => {
                let [condition, yes, no] = &**parts;
                if self.boolean(condition)? {
                    self.value(yes)
                } else {
                    self.value(no)
                }
            }
            Node::And(pair) => self.connect("_&&_", false, pair),
            Node::Or(pair) => self.connect("_||_", true, pair),
            Node::Binary(operator, pair) => self.binary(*operator, pair),
            Node::Call(call) => self.call(call),
            Node::List(nodes) => self.list(nodes),
            Node::Map(entries) => self.map(entries),
            Node::Fold(fold) => self.fold(fold),
        }
    }

    fn bytes(&mut self, bytes: &[u8]) -> Evaluated<'a> {
        self.budget.allocate(bytes.len())?;
        Ok(Val::Bytes(Rc::new(bytes.to_vec())))
    }

    fn local(&self, place: usize) -> Evaluated<'a> {
        let value = self.locals.get(place).cloned();
        value.ok_or(Fault::NoValue("a variable"))
    }

    fn input(&mut self, name: &str) -> Evaluated<'a> {
        let scope = self.scope;
        match scope.input(name) {
            Some(value) => Ok(Val::of(value.json())),
            None => Err(Fault::NoField(shortened(name))),
        }
    }

    fn step(&mut self, name: &str) -> Evaluated<'a> {
        let scope = self.scope;
        match scope.step_result(name) {
            Some(StepResult::Whole(value)) => Ok(Val::of(value.json())),
            Some(StepResult::Counted(_)) | None => Err(Fault::NoValue("steps")),
        }
    }

    fn step_size(&mut self, name: &str) -> Evaluated<'a> {
        let scope = self.scope;
        match scope.step_result(name) {
            Some(StepResult::Counted(count)) => {
                Ok(Val::Int(i64::try_from(*count).unwrap_or(i64::MAX)))
            }
            Some(StepResult::Whole(value)) => {
                let value = Val::of(value.json());
                functions::size(&value, self.budget)
            }
            None => Err(Fault::NoValue("steps")),
        }
    }

    fn root(&mut self, root: Root) -> Evaluated<'a> {
        let scope = self.scope;
        match root {
            Root::Inputs => {
                self.budget.allocate(scope.weight_of_inputs_to_make())?;
                Ok(Val::of(scope.all_prepared_inputs().json()))
            }
            Root::Index => match scope.index_value() {
                Some(index) => Ok(Val::Int(i64::from(index))),
                None => Err(Fault::NoValue("index")),
            },
            Root::Steps => Err(Fault::NoValue("steps")),
            Root::Item | Root::Matrix | Root::Run | Root::Failure => match scope.root(root) {
                Some(value) => Ok(Val::of(value.json())),
                None => Err(Fault::NoValue(root.word())),
            },
        }
    }

    fn input_at(&mut self, key: &'a Node) -> Evaluated<'a> {
        let key = self.value(key)?;
        match &key {
            Val::Text(name) => self.input(name),
            Val::Bool(_) | Val::Int(_) | Val::UInt(_) | Val::Double(_) => Err(no_field(&key)),
            other => Err(Fault::NoMeaning("_[_]", vec!["map", other.type_name()])),
        }
    }

    fn select(&mut self, of: &'a Node, field: &str) -> Evaluated<'a> {
        let value = self.value(of)?;
        if value.map_len().is_none() {
            return Err(Fault::NoMeaning("_._", vec![value.type_name(), "string"]));
        }
        match value.field(field, self.budget)? {
            Some(found) => Ok(found),
            None => Err(Fault::NoField(shortened(field))),
        }
    }

    fn has(&mut self, of: &'a Node, field: &str) -> Evaluated<'a> {
        let value = self.value(of)?;
        if value.map_len().is_none() {
            return Err(Fault::NoMeaning("_._", vec![value.type_name(), "string"]));
        }
        Ok(Val::Bool(value.field(field, self.budget)?.is_some()))
    }

    fn index(&mut self, pair: &'a [Node; 2]) -> Evaluated<'a> {
        let [of, key] = pair;
        let (value, key) = (self.value(of)?, self.value(key)?);
        let no_meaning = || Fault::NoMeaning("_[_]", vec![value.type_name(), key.type_name()]);
        if value.map_len().is_some() {
            return match (value.at(&key, self.budget)?, &key) {
                (Some(found), _) => Ok(found),
                (
                    None,
                    Val::Text(_) | Val::Bool(_) | Val::Int(_) | Val::UInt(_) | Val::Double(_),
                ) => Err(no_field(&key)),
                (None, _) => Err(no_meaning()),
            };
        }
        if value.list_len().is_none() {
            return Err(no_meaning());
        }
        let place = match &key {
            Val::Int(int) => usize::try_from(*int).ok(),
            Val::UInt(uint) => usize::try_from(*uint).ok(),
            Val::Double(double) => match whole(*double) {
                Some(int) => usize::try_from(int).ok(),
                None => return Err(Fault::NoIndex),
            },
            _ => return Err(no_meaning()),
        };
        let found = place.and_then(|place| value.element(place));
        found.ok_or_else(|| {
            Fault::NoElement(match &key {
                Val::Int(int) => int.to_string(),
                Val::UInt(uint) => uint.to_string(),
                _ => "there".to_owned(),
            })
        })
    }

    fn not(&mut self, operand: &'a Node) -> Evaluated<'a> {
        match self.value(operand)? {
            Val::Bool(boolean) => Ok(Val::Bool(!boolean)),
            other => Err(Fault::NoMeaning("!_", vec![other.type_name()])),
        }
    }

    fn negate(&mut self, operand: &'a Node) -> Evaluated<'a> {
        match self.value(operand)? {
            Val::Int(int) => int.checked_neg().map(Val::Int).ok_or(Fault::TooLarge),
            Val::Double(double) => Ok(Val::Double(-double)),
            other => Err(Fault::NoMeaning("-_", vec![other.type_name()])),
        }
    }

    fn not_strictly_false(&mut self, operand: &'a Node) -> Evaluated<'a> {
        match self.boolean(operand) {
            Err(Fault::Spent(spent)) => Err(spent.into()),
            result => Ok(Val::Bool(result.unwrap_or(true))),
        }
    }

    /// A value that has to be true or false.
    fn boolean(&mut self, node: &'a Node) -> Result<bool, Fault> {
        match self.value(node)? {
            Val::Bool(boolean) => Ok(boolean),
            other => Err(Fault::Expected {
                want: "bool",
                got: other.type_name(),
            }),
        }
    }

    /// `&&` and `||`: what absorbs on the left decides, on the right it makes good an error of the left.
    fn connect(
        &mut self,
        name: &'static str,
        absorbing: bool,
        [left, right]: &'a [Node; 2],
    ) -> Evaluated<'a> {
        let left = match self.boolean(left) {
            Ok(left) if left == absorbing => return Ok(Val::Bool(absorbing)),
            Err(Fault::Spent(spent)) => return Err(spent.into()),
            other => other,
        };
        let right = self.value(right)?;
        match (left, right) {
            (Ok(_), Val::Bool(right)) => Ok(Val::Bool(right)),
            (Err(_), Val::Bool(right)) if right == absorbing => Ok(Val::Bool(absorbing)),
            (Err(Fault::Expected { want: "bool", got }), right) => {
                Err(Fault::NoMeaning(name, vec![got, right.type_name()]))
            }
            (Err(fault), _) => Err(fault),
            (Ok(_), right) => Err(Fault::NoMeaning(name, vec!["bool", right.type_name()])),
        }
    }

    fn binary(&mut self, operator: Binary, [left, right]: &'a [Node; 2]) -> Evaluated<'a> {
        let (left, right) = (self.value(left)?, self.value(right)?);
        functions::binary(operator, left, right, self.budget)
    }

    fn call(&mut self, call: &'a Call) -> Evaluated<'a> {
        let mut args = Vec::with_capacity(call.args.len());
        for arg in &call.args {
            args.push(self.value(arg)?);
        }
        functions::call(call.function, call.is_method, &args, self.budget)
    }

    fn list(&mut self, nodes: &'a [Node]) -> Evaluated<'a> {
        self.budget.allocate_list::<Val<'_>>(nodes.len())?;
        let mut list = Vec::with_capacity(nodes.len());
        for node in nodes {
            list.push(self.value(node)?);
        }
        Ok(Val::List(Rc::new(list)))
    }

    fn map(&mut self, entries: &'a [(Node, Node)]) -> Evaluated<'a> {
        self.budget
            .allocate_list::<(Key<'_>, Val<'_>)>(entries.len())?;
        let mut map: Vec<(Key<'a>, Val<'a>)> = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let key = Key::of(self.value(key)?)?;
            let value = self.value(value)?;
            self.budget.steps(map.len())?;
            let wanted = key.value();
            if map.iter().any(|(known, _)| known.is(&wanted)) {
                return Err(Fault::SameKey);
            }
            map.push((key, value));
        }
        Ok(Val::Map(Rc::new(map)))
    }

    fn fold(&mut self, fold: &'a Fold) -> Evaluated<'a> {
        let range = self.value(&fold.range)?;
        let range = match (range.list_len(), range.map_len()) {
            (Some(_), _) => range,
            (None, Some(_)) => Val::List(Rc::new(range.keys(self.budget)?)),
            (None, None) => {
                return Err(Fault::Expected {
                    want: "iterable",
                    got: range.type_name(),
                });
            }
        };
        let outside = self.locals.len();
        let result = match &fold.body {
            Body::Append { guard, item } => self.append(&range, guard.as_ref(), item),
            Body::Reduce { .. } => self.reduce(&range, &fold.body),
        };
        self.locals.truncate(outside);
        result
    }

    fn append(
        &mut self,
        range: &Val<'a>,
        guard: Option<&'a Node>,
        item: &'a Node,
    ) -> Evaluated<'a> {
        let count = range.list_len().unwrap_or(0);
        // Without a guard, every element gives one.
        let mut result = Vec::new();
        if guard.is_none() {
            self.budget.allocate_list::<Val<'_>>(count)?;
            result.reserve_exact(count);
        }
        let place = self.locals.len();
        self.locals.push(Val::Null);
        self.locals.push(Val::Null);
        for index in 0..count {
            self.budget.step()?;
            let Some(element) = range.element(index) else {
                break;
            };
            self.locals[place] = element;
            if let Some(guard) = guard {
                if !self.boolean(guard)? {
                    continue;
                }
                if result.len() == result.capacity() {
                    let more = result.len().max(4);
                    self.budget.allocate_list::<Val<'_>>(result.len() + more)?;
                    result.reserve_exact(more);
                }
            }
            result.push(self.value(item)?);
        }
        Ok(Val::List(Rc::new(result)))
    }

    fn reduce(&mut self, range: &Val<'a>, body: &'a Body) -> Evaluated<'a> {
        let Body::Reduce {
            begin,
            goes_on,
            step,
            result,
            absorbing,
        } = body
        else {
            return Err(Fault::NoValue("a comprehension"));
        };
        let begin = self.value(begin)?;
        let place = self.locals.len();
        self.locals.push(Val::Null);
        self.locals.push(begin);
        // An error that a later element may still make good.
        let mut pending = None;
        for index in 0..range.list_len().unwrap_or(0) {
            self.budget.step()?;
            let Some(element) = range.element(index) else {
                break;
            };
            self.locals[place] = element;
            if !self.boolean(goes_on)? {
                break;
            }
            match (self.value(step), absorbing) {
                (Err(Fault::Spent(spent)), _) => return Err(spent.into()),
                (Err(fault), Some(_)) => pending = Some(fault),
                (Err(fault), None) => return Err(fault),
                (Ok(value), Some(absorbing)) if pending.is_some() => {
                    if matches!(value, Val::Bool(decided) if decided == *absorbing) {
                        pending = None;
                        self.locals[place + 1] = value;
                    }
                }
                (Ok(value), _) => self.locals[place + 1] = value,
            }
        }
        match pending {
            Some(fault) => Err(fault),
            None => self.value(result),
        }
    }
}

fn no_field(key: &Val<'_>) -> Fault {
    Fault::NoField(match key {
        Val::Text(text) => shortened(text),
        Val::Int(int) => int.to_string(),
        Val::UInt(uint) => uint.to_string(),
        Val::Double(double) => double.to_string(),
        Val::Bool(boolean) => boolean.to_string(),
        _ => String::new(),
    })
}
