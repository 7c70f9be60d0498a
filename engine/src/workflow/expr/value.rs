//! Values while an expression is evaluated.
//!
//! What the scope holds is borrowed as the JSON it is: nothing is converted to
//! be read. What the expression makes is shared, and charged when it is made.

use std::ops::Deref;
use std::rc::Rc;

use serde_json::{Map, Number, Value};

use super::budget::{Budget, ENTRY_BYTES, Spent};
use super::program::Fault;

#[derive(Debug, Clone)]
pub(super) enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Double(f64),
    Text(Text<'a>),
    Bytes(Rc<Vec<u8>>),
    List(Rc<Vec<Val<'a>>>),
    /// In the order written; no key is there twice.
    Map(Rc<Vec<(Key<'a>, Val<'a>)>>),
    JsonList(&'a [Value]),
    JsonMap(&'a Map<String, Value>),
    Type(&'static str),
}

#[derive(Debug, Clone)]
pub(super) enum Text<'a> {
    Borrowed(&'a str),
    Made(Rc<String>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Made(text) => text,
        }
    }
}

impl From<String> for Val<'_> {
    fn from(text: String) -> Self {
        Self::Text(Text::Made(Rc::new(text)))
    }
}

/// A key of a map that an expression made.
#[derive(Debug, Clone)]
pub(super) enum Key<'a> {
    Bool(bool),
    Int(i64),
    UInt(u64),
    Text(Text<'a>),
}

impl std::fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(key) => key.fmt(f),
            Self::Int(key) => key.fmt(f),
            Self::UInt(key) => key.fmt(f),
            Self::Text(key) => f.write_str(key),
        }
    }
}

impl<'a> Key<'a> {
    /// A value as a key, where it can be one.
    pub(super) fn of(value: Val<'a>) -> Result<Self, Fault> {
        match value {
            Val::Bool(key) => Ok(Self::Bool(key)),
            Val::Int(key) => Ok(Self::Int(key)),
            Val::UInt(key) => Ok(Self::UInt(key)),
            Val::Text(key) => Ok(Self::Text(key)),
            other => Err(Fault::NoKey(other.type_name())),
        }
    }

    pub(super) fn value(&self) -> Val<'a> {
        match self {
            Self::Bool(key) => Val::Bool(*key),
            Self::Int(key) => Val::Int(*key),
            Self::UInt(key) => Val::UInt(*key),
            Self::Text(key) => Val::Text(key.clone()),
        }
    }

    /// Whether `wanted` finds this entry: numbers by value, whatever their type.
    pub(super) fn is(&self, wanted: &Val<'_>) -> bool {
        match (self, wanted) {
            (Self::Bool(key), Val::Bool(wanted)) => key == wanted,
            (Self::Text(key), Val::Text(wanted)) => **key == **wanted,
            (Self::Int(key), Val::Int(wanted)) => key == wanted,
            (Self::UInt(key), Val::UInt(wanted)) => key == wanted,
            (Self::Int(key), Val::UInt(wanted)) => u64::try_from(*key) == Ok(*wanted),
            (Self::UInt(key), Val::Int(wanted)) => u64::try_from(*wanted) == Ok(*key),
            (Self::Int(key), Val::Double(wanted)) => whole(*wanted) == Some(*key),
            (Self::UInt(key), Val::Double(wanted)) => {
                whole(*wanted).is_some_and(|wanted| u64::try_from(wanted) == Ok(*key))
            }
            _ => false,
        }
    }
}

/// A double as an integer, if nothing is lost.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the range is checked first, and the way back after"
)]
pub(super) fn whole(double: f64) -> Option<i64> {
    let fits = double > i64::MIN as f64 && double < i64::MAX as f64;
    let int = fits.then_some(double as i64)?;
    (int as f64 == double).then_some(int)
}

impl<'a> Val<'a> {
    pub(super) fn of(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(boolean) => Self::Bool(*boolean),
            Value::String(text) => Self::Text(Text::Borrowed(text)),
            // Every integer that fits is an `int`, so that `inputs.n + 1` works.
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(int), _) => Self::Int(int),
                (None, Some(uint)) => Self::UInt(uint),
                (None, None) => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::Array(list) => Self::JsonList(list),
            Value::Object(fields) => Self::JsonMap(fields),
        }
    }

    /// CEL's name of its type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::UInt(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::List(_) | Self::JsonList(_) => "list",
            Self::Map(_) | Self::JsonMap(_) => "map",
            Self::Type(_) => "type",
        }
    }

    /// The number of elements, where it is a list.
    pub(super) fn list_len(&self) -> Option<usize> {
        match self {
            Self::List(list) => Some(list.len()),
            Self::JsonList(list) => Some(list.len()),
            _ => None,
        }
    }

    /// An element, where it is a list that has it.
    pub(super) fn element(&self, index: usize) -> Option<Self> {
        match self {
            Self::List(list) => list.get(index).cloned(),
            Self::JsonList(list) => list.get(index).map(Self::of),
            _ => None,
        }
    }

    /// The number of entries, where it is a map.
    pub(super) fn map_len(&self) -> Option<usize> {
        match self {
            Self::Map(map) => Some(map.len()),
            Self::JsonMap(map) => Some(map.len()),
            _ => None,
        }
    }

    /// The keys of a map, sorted: whoever goes through them does so in one order in every process.
    pub(super) fn keys(&self, budget: &mut Budget) -> Result<Vec<Self>, Spent> {
        let count = self.map_len().unwrap_or(0);
        budget.allocate_list::<(Self, Self)>(count)?;
        budget.steps(count.saturating_mul(1 + count.ilog2_or_zero()))?;
        let mut keys: Vec<Self> = match self {
            Self::Map(map) => map.iter().map(|(key, _)| key.value()).collect(),
            Self::JsonMap(map) => map.keys().map(|k| Self::Text(Text::Borrowed(k))).collect(),
            _ => Vec::new(),
        };
        keys.sort_by(|a, b| match (a, b) {
            (Self::Text(a), Self::Text(b)) => (**a).cmp(&**b),
            (Self::Text(_), _) => std::cmp::Ordering::Greater,
            (_, Self::Text(_)) => std::cmp::Ordering::Less,
            (a, b) => a.rank().cmp(&b.rank()),
        });
        Ok(keys)
    }

    /// An order of the keys that are no text.
    fn rank(&self) -> (bool, i128) {
        match self {
            Self::Int(int) => (true, i128::from(*int)),
            Self::UInt(uint) => (true, i128::from(*uint)),
            Self::Bool(boolean) => (false, i128::from(*boolean)),
            _ => (false, 0),
        }
    }

    /// The value at a key, where it is a map that has it. What is no map has nothing.
    pub(super) fn at(&self, key: &Self, budget: &mut Budget) -> Result<Option<Self>, Spent> {
        match (self, key) {
            (Self::JsonMap(map), Self::Text(key)) => {
                budget.scan(key.len())?;
                Ok(map.get(&**key).map(Self::of))
            }
            (Self::Map(map), key) => {
                budget.steps(map.len())?;
                let found = map.iter().find(|(k, _)| k.is(key));
                Ok(found.map(|(_, value)| value.clone()))
            }
            _ => Ok(None),
        }
    }

    /// The same, for a field that is known by name.
    pub(super) fn field(&self, name: &str, budget: &mut Budget) -> Result<Option<Self>, Spent> {
        match self {
            Self::JsonMap(map) => Ok(map.get(name).map(Self::of)),
            Self::Map(map) => {
                budget.steps(map.len())?;
                let found = map
                    .iter()
                    .find(|(key, _)| matches!(key, Key::Text(key) if **key == *name));
                Ok(found.map(|(_, value)| value.clone()))
            }
            _ => Ok(None),
        }
    }

    /// Whether two values are equal; every part that is looked at is charged.
    pub(super) fn equals(&self, other: &Self, budget: &mut Budget) -> Result<bool, Spent> {
        budget.step()?;
        if let (Some(len), Some(other_len)) = (self.list_len(), other.list_len()) {
            if len != other_len {
                return Ok(false);
            }
            for index in 0..len {
                if let (Some(a), Some(b)) = (self.element(index), other.element(index))
                    && !a.equals(&b, budget)?
                {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        if let (Some(len), Some(other_len)) = (self.map_len(), other.map_len()) {
            return Ok(len == other_len && self.has_entries_of(other, budget)?);
        }
        Ok(match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => {
                if a.len() == b.len() {
                    budget.scan(a.len())?;
                }
                **a == **b
            }
            (Self::Bytes(a), Self::Bytes(b)) => {
                budget.scan(a.len().min(b.len()))?;
                a == b
            }
            (Self::Type(a), Self::Type(b)) => a == b,
            (a, b) => a.compare_numbers(b) == Some(std::cmp::Ordering::Equal),
        })
    }

    fn has_entries_of(&self, other: &Self, budget: &mut Budget) -> Result<bool, Spent> {
        let same = |found: Option<Self>, mine: &Self, budget: &mut Budget| match found {
            Some(found) => mine.equals(&found, budget),
            None => Ok(false),
        };
        match self {
            Self::Map(map) => {
                for (key, value) in map.iter() {
                    let found = other.at(&key.value(), budget)?;
                    if !same(found, value, budget)? {
                        return Ok(false);
                    }
                }
            }
            Self::JsonMap(map) => {
                for (key, value) in *map {
                    budget.scan(key.len())?;
                    let found = other.field(key, budget)?;
                    if !same(found, &Self::of(value), budget)? {
                        return Ok(false);
                    }
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// How two numbers compare, of whatever types; NaN compares with nothing.
    pub(super) fn compare_numbers(&self, other: &Self) -> Option<std::cmp::Ordering> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            (Self::UInt(a), Self::UInt(b)) => Some(a.cmp(b)),
            (Self::Double(a), Self::Double(b)) => a.partial_cmp(b),
            (Self::Int(a), Self::UInt(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Self::UInt(a), Self::Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Self::Int(a), Self::Double(b)) => (*a as f64).partial_cmp(b),
            (Self::UInt(a), Self::Double(b)) => (*a as f64).partial_cmp(b),
            (Self::Double(a), Self::Int(b)) => a.partial_cmp(&(*b as f64)),
            (Self::Double(a), Self::UInt(b)) => a.partial_cmp(&(*b as f64)),
            _ => None,
        }
    }

    /// The value as JSON, its maps sorted by key. Shared parts are copied as
    /// often as they are there, and charged each time.
    pub(super) fn into_json(self, budget: &mut Budget, depth: usize) -> Result<Value, Fault> {
        budget.step()?;
        Ok(match self {
            Self::Null => Value::Null,
            Self::Bool(boolean) => Value::Bool(boolean),
            Self::Int(int) => int.into(),
            Self::UInt(uint) => uint.into(),
            Self::Double(double) => match Number::from_f64(double) {
                Some(number) => Value::Number(number),
                None => return Err(Fault::NoJson(format!("the result is {double}"))),
            },
            Self::Text(text) => {
                budget.allocate(text.len())?;
                Value::String(match text {
                    Text::Borrowed(text) => text.to_owned(),
                    Text::Made(text) => Rc::unwrap_or_clone(text),
                })
            }
            Self::List(_) | Self::JsonList(_) => {
                budget.deeper(depth)?;
                let len = self.list_len().unwrap_or(0);
                budget.allocate_list::<Value>(len)?;
                let mut list = Vec::with_capacity(len);
                for index in 0..len {
                    let Some(element) = self.element(index) else {
                        break;
                    };
                    list.push(element.into_json(budget, depth + 1)?);
                }
                Value::Array(list)
            }
            Self::Map(_) | Self::JsonMap(_) => {
                budget.deeper(depth)?;
                let len = self.map_len().unwrap_or(0);
                budget.allocate(len.saturating_mul(ENTRY_BYTES + size_of::<(String, Value)>()))?;
                let mut fields: Vec<(String, Value)> = Vec::with_capacity(len);
                match &self {
                    Self::Map(map) => {
                        for (key, value) in map.iter() {
                            let key = key.to_string();
                            budget.allocate(key.len())?;
                            fields.push((key, value.clone().into_json(budget, depth + 1)?));
                        }
                    }
                    Self::JsonMap(map) => {
                        for (key, value) in *map {
                            budget.allocate(key.len())?;
                            let value = Self::of(value).into_json(budget, depth + 1)?;
                            fields.push((key.clone(), value));
                        }
                    }
                    _ => {}
                }
                fields.sort_by(|(a, _), (b, _)| a.cmp(b));
                Value::Object(fields.into_iter().collect())
            }
            Self::Bytes(_) => return Err(Fault::NoJson("the result is bytes".to_owned())),
            // As the interpreter of the `cel` crate has it.
            Self::Type(name) => Value::String(name.to_owned()),
        })
    }
}

trait Log2 {
    fn ilog2_or_zero(self) -> usize;
}

impl Log2 for usize {
    fn ilog2_or_zero(self) -> usize {
        self.checked_ilog2().unwrap_or(0) as usize
    }
}
