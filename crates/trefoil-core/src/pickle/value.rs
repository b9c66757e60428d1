//! The values of a pickle, and a cursor to walk over them.

use super::Pickle;

/// Place of a value in the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id(pub(super) u32);

/// A value as the machine builds it.
#[derive(Debug)]
pub(super) enum Node<'a> {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Set(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global { module: &'a str, name: &'a str },
    Call(Box<CallNode>),
    Persistent(Id),
}

/// An object that a program would make by a call, with what it would then put in.
#[derive(Debug)]
pub(super) struct CallNode {
    pub(super) function: Id,
    pub(super) arguments: Id,
    pub(super) keywords: Option<Id>,
    pub(super) state: Option<Id>,
    pub(super) items: Vec<Id>,
    pub(super) entries: Vec<(Id, Id)>,
}

/// A value of a [`Pickle`].
#[derive(Debug, Clone, Copy)]
pub struct Value<'p, 'a> {
    pickle: &'p Pickle<'a>,
    id: Id,
}

impl<'p, 'a> Value<'p, 'a> {
    pub(super) fn new(pickle: &'p Pickle<'a>, id: Id) -> Self {
        Self { pickle, id }
    }

    fn node(self) -> &'p Node<'a> {
        self.pickle.node(self.id)
    }

    fn at(self, id: Id) -> Self {
        Self::new(self.pickle, id)
    }

    /// A number that is the same for two mentions of one value.
    pub fn identity(self) -> u32 {
        self.id.0
    }

    /// What it is, for messages: `None`, `int`, `tuple`, ...
    pub fn kind(self) -> &'static str {
        match self.node() {
            Node::None => "None",
            Node::Bool(_) => "bool",
            Node::Int(_) => "int",
            Node::Float(_) => "float",
            Node::Text(_) => "str",
            Node::Bytes(_) => "bytes",
            Node::Tuple(_) => "tuple",
            Node::List(_) => "list",
            Node::Set(_) => "set",
            Node::Dict(_) => "dict",
            Node::Global { .. } => "global",
            Node::Call(_) => "object",
            Node::Persistent(_) => "persistent id",
        }
    }

    /// Whether it is `None`.
    pub fn is_none(self) -> bool {
        matches!(self.node(), Node::None)
    }

    /// A boolean.
    pub fn as_bool(self) -> Option<bool> {
        match self.node() {
            Node::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// An integer.
    pub fn as_int(self) -> Option<i128> {
        match self.node() {
            Node::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// An integer that is a size.
    pub fn as_usize(self) -> Option<usize> {
        self.as_int().and_then(|value| usize::try_from(value).ok())
    }

    /// A float; integers count.
    pub fn as_float(self) -> Option<f64> {
        match self.node() {
            Node::Float(value) => Some(*value),
            Node::Int(value) => Some(*value as f64),
            _ => None,
        }
    }

    /// A string.
    pub fn as_str(self) -> Option<&'a str> {
        match self.node() {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Bytes.
    pub fn as_bytes(self) -> Option<&'a [u8]> {
        match self.node() {
            Node::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Module and name of a global.
    pub fn global(self) -> Option<(&'a str, &'a str)> {
        match self.node() {
            Node::Global { module, name } => Some((module, name)),
            _ => None,
        }
    }

    /// The elements of a tuple, list or set, or what was appended to an object.
    pub fn items(self) -> Option<Items<'p, 'a>> {
        let ids = match self.node() {
            Node::Tuple(ids) | Node::List(ids) | Node::Set(ids) => ids,
            Node::Call(call) => &call.items,
            _ => return None,
        };
        Some(Items { pickle: self.pickle, ids: ids.iter() })
    }

    /// The elements of a tuple of `N`.
    pub fn tuple<const N: usize>(self) -> Option<[Self; N]> {
        match self.node() {
            Node::Tuple(ids) => {
                let ids: [Id; N] = ids.as_slice().try_into().ok()?;
                Some(ids.map(|id| self.at(id)))
            }
            _ => None,
        }
    }

    /// Keys and values of a dictionary, or of an object that is one.
    pub fn entries(self) -> Option<Entries<'p, 'a>> {
        let entries = match self.node() {
            Node::Dict(entries) => entries,
            Node::Call(call) => &call.entries,
            _ => return None,
        };
        Some(Entries { pickle: self.pickle, entries: entries.iter() })
    }

    /// The last value of a string key.
    pub fn get(self, key: &str) -> Option<Self> {
        self.entries()?.filter(|(k, _)| k.as_str() == Some(key)).last().map(|(_, value)| value)
    }

    /// Module and name of what would be called, and the arguments.
    pub fn call(self) -> Option<((&'a str, &'a str), Self)> {
        match self.node() {
            Node::Call(call) => Some((self.at(call.function).global()?, self.at(call.arguments))),
            _ => None,
        }
    }

    /// The keyword arguments of a call, a dictionary.
    pub fn keywords(self) -> Option<Self> {
        match self.node() {
            Node::Call(call) => call.keywords.map(|id| self.at(id)),
            _ => None,
        }
    }

    /// The state that an object would be given after it is made.
    pub fn state(self) -> Option<Self> {
        match self.node() {
            Node::Call(call) => call.state.map(|id| self.at(id)),
            _ => None,
        }
    }

    /// What a persistent id refers to by.
    pub fn persistent(self) -> Option<Self> {
        match self.node() {
            Node::Persistent(id) => Some(self.at(*id)),
            _ => None,
        }
    }
}

/// Iterator over elements.
#[derive(Debug, Clone)]
pub struct Items<'p, 'a> {
    pickle: &'p Pickle<'a>,
    ids: std::slice::Iter<'p, Id>,
}

impl<'p, 'a> Iterator for Items<'p, 'a> {
    type Item = Value<'p, 'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.ids.next().map(|id| Value::new(self.pickle, *id))
    }
}

/// Iterator over keys and values.
#[derive(Debug, Clone)]
pub struct Entries<'p, 'a> {
    pickle: &'p Pickle<'a>,
    entries: std::slice::Iter<'p, (Id, Id)>,
}

impl<'p, 'a> Iterator for Entries<'p, 'a> {
    type Item = (Value<'p, 'a>, Value<'p, 'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let value = |id| Value::new(self.pickle, id);
        self.entries.next().map(|(key, entry)| (value(*key), value(*entry)))
    }
}
