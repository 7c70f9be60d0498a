//! A JSON object as CEL sees it, with an order.
//!
//! CEL's own map iterates as its hash table likes, differently in every
//! process. A run that is resumed elsewhere must get the same value again, so
//! `inputs.sizes.map(name, …)` goes through the keys in alphabetical order.

use std::collections::HashMap;

use cel::common::traits::{self, Container, Indexer, Iterable, Sizer, Zeroer};
use cel::common::types::{CelMap, CelMapKey, CelString, MAP_TYPE, Type};
use cel::common::value::{Builtin, BuiltinRef, Val};

#[derive(Debug)]
pub(super) struct Ordered {
    /// Does everything but iterate.
    map: CelMap<'static>,
    /// Sorted.
    keys: Vec<CelString<'static>>,
}

impl Ordered {
    pub(super) fn new(fields: impl IntoIterator<Item = (String, Box<dyn Val>)>) -> Self {
        let map: HashMap<CelMapKey<'static>, Box<dyn Val>> = fields
            .into_iter()
            .map(|(key, value)| (CelMapKey::String(CelString::from(key)), value))
            .collect();
        Self::from(CelMap::from(map))
    }
}

impl From<CelMap<'static>> for Ordered {
    fn from(map: CelMap<'static>) -> Self {
        let mut keys: Vec<CelString<'static>> = map
            .inner()
            .keys()
            .filter_map(|key| match key {
                CelMapKey::String(text) => Some(text.clone()),
                CelMapKey::Bool(_) | CelMapKey::Int(_) | CelMapKey::UInt(_) => None,
            })
            .collect();
        keys.sort_by(|a, b| a.inner().cmp(b.inner()));
        Self { map, keys }
    }
}

impl Clone for Ordered {
    fn clone(&self) -> Self {
        Self {
            map: self.map.clone(),
            keys: self.keys.clone(),
        }
    }
}

impl Val for Ordered {
    fn get_type(&self) -> &Type {
        &MAP_TYPE
    }

    fn cel_type() -> &'static Type {
        &MAP_TYPE
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(&self.map)
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(&self.map)
    }

    fn into_indexer<'v>(self: Box<Self>) -> Option<Box<dyn Indexer + 'v>>
    where
        Self: 'v,
    {
        Some(Box::new(self.map))
    }

    fn as_iterable<'b, 'v>(&'b self) -> Option<&'b (dyn Iterable + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(&self.map)
    }

    fn as_zeroer(&self) -> Option<&dyn Zeroer> {
        Some(&self.map)
    }

    fn equals(&self, other: &dyn Val) -> bool {
        self.map.equals(other)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }

    // So that CEL's own maps can be compared with it, and results converted.
    fn as_builtin<'b, 'v>(&'b self) -> BuiltinRef<'b, 'v>
    where
        Self: 'v,
    {
        BuiltinRef::Map(&self.map)
    }

    fn into_builtin<'v>(self: Box<Self>) -> Option<Builtin<'v>>
    where
        Self: 'v,
    {
        Some(Builtin::Map(self.map))
    }
}

impl Iterable for Ordered {
    fn iter<'b, 'v>(&'b self) -> Box<dyn traits::Iterator<'b, 'v> + 'b>
    where
        Self: 'v,
    {
        Box::new(Keys(self.keys.iter()))
    }
}

struct Keys<'b>(std::slice::Iter<'b, CelString<'static>>);

impl<'b, 'v> traits::Iterator<'b, 'v> for Keys<'b> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'v)> {
        self.0.next().map(|key| key as &(dyn Val + 'v))
    }
}
