//! The stack machine.

use std::collections::HashMap;

use super::value::{CallNode, Id, Node};
use super::{MAX_VALUES, Pickle, PickleError};

type Result<T> = std::result::Result<T, PickleError>;

/// Runs the program at the start of `bytes`.
pub(super) fn run<'a>(bytes: &'a [u8], allowed: &dyn Fn(&str, &str) -> bool) -> Result<Pickle<'a>> {
    let mut machine = Machine {
        bytes,
        at: 0,
        start: 0,
        name: "",
        allowed,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    let root = loop {
        if let Some(root) = machine.step()? {
            break root;
        }
    };
    Ok(Pickle { nodes: machine.nodes, root, length: machine.at })
}

/// The state of a run.
pub(super) struct Machine<'a, 'f> {
    pub(super) bytes: &'a [u8],
    /// Next byte.
    pub(super) at: usize,
    /// First byte and name of the running instruction.
    start: usize,
    name: &'static str,
    allowed: &'f dyn Fn(&str, &str) -> bool,
    nodes: Vec<Node<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack at the open marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a, '_> {
    /// One instruction; the root value at the last one.
    fn step(&mut self) -> Result<Option<Id>> {
        self.start = self.at;
        let opcode = self.byte()?;
        match opcode {
            0x80 => self.named("PROTO").protocol()?,
            0x95 => drop(self.named("FRAME").array::<8>()?),
            b'.' => return self.named("STOP").pop().map(Some),
            b'0' => self.named("POP").discard()?,
            b'1' => drop(self.named("POP_MARK").marked()?),
            b'2' => {
                let top = self.named("DUP").top()?;
                self.push(top)?;
            }
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.named("NONE").make(Node::None)?,
            0x88 => self.named("NEWTRUE").make(Node::Bool(true))?,
            0x89 => self.named("NEWFALSE").make(Node::Bool(false))?,
            b'J' => {
                let value = i32::from_le_bytes(self.named("BININT").array()?);
                self.make(Node::Int(value.into()))?;
            }
            b'K' => {
                let value = self.named("BININT1").byte()?;
                self.make(Node::Int(value.into()))?;
            }
            b'M' => {
                let value = u16::from_le_bytes(self.named("BININT2").array()?);
                self.make(Node::Int(value.into()))?;
            }
            0x8a => {
                let length = self.named("LONG1").byte()?;
                self.long(length.into())?;
            }
            0x8b => {
                let length = self.named("LONG4").size::<4>()?;
                self.long(length)?;
            }
            b'G' => {
                let value = f64::from_be_bytes(self.named("BINFLOAT").array()?);
                self.make(Node::Float(value))?;
            }
            0x8c => self.named("SHORT_BINUNICODE").text::<1>()?,
            b'X' => self.named("BINUNICODE").text::<4>()?,
            0x8d => self.named("BINUNICODE8").text::<8>()?,
            // Strings of Python 2: text where it is text.
            b'U' => self.named("SHORT_BINSTRING").old_text::<1>()?,
            b'T' => self.named("BINSTRING").old_text::<4>()?,
            b'C' => self.named("SHORT_BINBYTES").raw::<1>()?,
            b'B' => self.named("BINBYTES").raw::<4>()?,
            0x8e => self.named("BINBYTES8").raw::<8>()?,
            0x96 => self.named("BYTEARRAY8").raw::<8>()?,
            b')' => self.named("EMPTY_TUPLE").make(Node::Tuple(Vec::new()))?,
            0x85 => self.named("TUPLE1").tuple(1)?,
            0x86 => self.named("TUPLE2").tuple(2)?,
            0x87 => self.named("TUPLE3").tuple(3)?,
            b't' => {
                let items = self.named("TUPLE").marked()?;
                self.make(Node::Tuple(items))?;
            }
            b']' => self.named("EMPTY_LIST").make(Node::List(Vec::new()))?,
            b'l' => {
                let items = self.named("LIST").marked()?;
                self.make(Node::List(items))?;
            }
            b'a' => {
                let item = self.named("APPEND").pop()?;
                self.extend(vec![item])?;
            }
            b'e' => {
                let items = self.named("APPENDS").marked()?;
                self.extend(items)?;
            }
            0x8f => self.named("EMPTY_SET").make(Node::Set(Vec::new()))?,
            0x90 => {
                let items = self.named("ADDITEMS").marked()?;
                self.extend(items)?;
            }
            0x91 => {
                let items = self.named("FROZENSET").marked()?;
                self.make(Node::Set(items))?;
            }
            b'}' => self.named("EMPTY_DICT").make(Node::Dict(Vec::new()))?,
            b'd' => {
                let items = self.named("DICT").marked()?;
                let entries = self.pairs(items)?;
                self.make(Node::Dict(entries))?;
            }
            b's' => {
                let value = self.named("SETITEM").pop()?;
                let key = self.pop()?;
                self.set(vec![(key, value)])?;
            }
            b'u' => {
                let items = self.named("SETITEMS").marked()?;
                let entries = self.pairs(items)?;
                self.set(entries)?;
            }
            b'c' => {
                let module = self.named("GLOBAL").line()?;
                let name = self.line()?;
                self.global(module, name)?;
            }
            0x93 => self.named("STACK_GLOBAL").stack_global()?,
            b'R' => {
                let arguments = self.named("REDUCE").pop()?;
                self.call(arguments, None)?;
            }
            0x81 => {
                let arguments = self.named("NEWOBJ").pop()?;
                self.call(arguments, None)?;
            }
            0x92 => {
                let keywords = self.named("NEWOBJ_EX").pop()?;
                let arguments = self.pop()?;
                self.call(arguments, Some(keywords))?;
            }
            b'b' => self.named("BUILD").build()?,
            b'Q' => {
                let id = self.named("BINPERSID").pop()?;
                self.make(Node::Persistent(id))?;
            }
            b'h' => {
                let place = self.named("BINGET").byte()?;
                self.recall(place.into())?;
            }
            b'j' => {
                let place = u32::from_le_bytes(self.named("LONG_BINGET").array()?);
                self.recall(place)?;
            }
            b'q' => {
                let place = self.named("BINPUT").byte()?;
                self.remember(place.into())?;
            }
            b'r' => {
                let place = u32::from_le_bytes(self.named("LONG_BINPUT").array()?);
                self.remember(place)?;
            }
            0x94 => {
                let place = self.named("MEMOIZE").memo.len() as u32;
                self.remember(place)?;
            }
            other => return Err(PickleError::opcode(other, self.start)),
        }
        Ok(None)
    }

    fn named(&mut self, name: &'static str) -> &mut Self {
        self.name = name;
        self
    }

    pub(super) fn operand(&self, expected: &'static str) -> PickleError {
        PickleError::Operand { name: self.name, offset: self.start, expected }
    }

    fn node_of(&self, id: Id) -> &Node<'a> {
        &self.nodes[id.0 as usize]
    }

    fn push(&mut self, id: Id) -> Result<()> {
        if self.stack.len() >= MAX_VALUES {
            return Err(PickleError::TooLarge { limit: MAX_VALUES });
        }
        self.stack.push(id);
        Ok(())
    }

    fn make(&mut self, node: Node<'a>) -> Result<()> {
        if self.nodes.len() >= MAX_VALUES {
            return Err(PickleError::TooLarge { limit: MAX_VALUES });
        }
        let id = Id(self.nodes.len() as u32);
        self.nodes.push(node);
        self.push(id)
    }

    /// Lowest height to which an instruction may pop: the last open mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Id> {
        match self.stack.last() {
            Some(id) if self.stack.len() > self.floor() => Ok(*id),
            _ => Err(self.operand("a value on the stack")),
        }
    }

    fn pop(&mut self) -> Result<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// `POP` removes a mark as well.
    fn discard(&mut self) -> Result<()> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(drop)
    }

    /// Everything above the last mark.
    fn marked(&mut self) -> Result<Vec<Id>> {
        let height = self.marks.pop().ok_or_else(|| self.operand("a mark"))?;
        Ok(self.stack.split_off(height))
    }

    fn pairs(&self, items: Vec<Id>) -> Result<Vec<(Id, Id)>> {
        let (pairs, rest) = items.as_chunks::<2>();
        if rest.is_empty() {
            Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect())
        } else {
            Err(self.operand("an even number of values"))
        }
    }

    fn tuple(&mut self, length: usize) -> Result<()> {
        let height = self.stack.len().checked_sub(length).filter(|h| *h >= self.floor());
        let height = height.ok_or_else(|| self.operand("more values on the stack"))?;
        let items = self.stack.split_off(height);
        self.make(Node::Tuple(items))
    }

    /// Two's complement, little-endian.
    fn long(&mut self, length: usize) -> Result<()> {
        let bytes = self.take(length)?;
        let negative = bytes.last().is_some_and(|byte| *byte >= 0x80);
        let mut wide = [if negative { 0xff } else { 0 }; 16];
        match wide.get_mut(..length) {
            Some(low) => low.copy_from_slice(bytes),
            None => return Err(self.operand("an integer of at most 128 bits")),
        }
        self.make(Node::Int(i128::from_le_bytes(wide)))
    }

    fn text<const N: usize>(&mut self) -> Result<()> {
        let length = self.size::<N>()?;
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(bytes).map_err(|_| self.operand("UTF-8"))?;
        self.make(Node::Text(text))
    }

    fn old_text<const N: usize>(&mut self) -> Result<()> {
        let length = self.size::<N>()?;
        let bytes = self.take(length)?;
        self.make(std::str::from_utf8(bytes).map_or(Node::Bytes(bytes), Node::Text))
    }

    fn raw<const N: usize>(&mut self) -> Result<()> {
        let length = self.size::<N>()?;
        let bytes = self.take(length)?;
        self.make(Node::Bytes(bytes))
    }

    fn extend(&mut self, new: Vec<Id>) -> Result<()> {
        let target = self.top()?;
        let items = match &mut self.nodes[target.0 as usize] {
            Node::List(items) | Node::Set(items) => items,
            Node::Call(call) => &mut call.items,
            _ => return Err(self.operand("a list")),
        };
        items.extend(new);
        Ok(())
    }

    fn set(&mut self, new: Vec<(Id, Id)>) -> Result<()> {
        let target = self.top()?;
        let entries = match &mut self.nodes[target.0 as usize] {
            Node::Dict(entries) => entries,
            Node::Call(call) => &mut call.entries,
            _ => return Err(self.operand("a dictionary")),
        };
        entries.extend(new);
        Ok(())
    }

    fn global(&mut self, module: &'a str, name: &'a str) -> Result<()> {
        if (self.allowed)(module, name) {
            return self.make(Node::Global { module, name });
        }
        let (module, name) = (module.to_string(), name.to_string());
        Err(PickleError::Global { module, name, offset: self.start })
    }

    fn stack_global(&mut self) -> Result<()> {
        let (name, module) = (self.pop()?, self.pop()?);
        match (self.node_of(module), self.node_of(name)) {
            (&Node::Text(module), &Node::Text(name)) => self.global(module, name),
            _ => Err(self.operand("two strings")),
        }
    }

    fn call(&mut self, arguments: Id, keywords: Option<Id>) -> Result<()> {
        let function = self.pop()?;
        if !matches!(self.node_of(function), Node::Global { .. }) {
            return Err(self.operand("a global to call"));
        }
        if !matches!(self.node_of(arguments), Node::Tuple(_)) {
            return Err(self.operand("a tuple of arguments"));
        }
        self.make(Node::Call(Box::new(CallNode {
            function,
            arguments,
            keywords,
            state: None,
            items: Vec::new(),
            entries: Vec::new(),
        })))
    }

    fn build(&mut self) -> Result<()> {
        let state = self.pop()?;
        let target = self.top()?;
        match &mut self.nodes[target.0 as usize] {
            Node::Call(call) => call.state = Some(state),
            _ => return Err(self.operand("an object")),
        }
        Ok(())
    }

    fn recall(&mut self, place: u32) -> Result<()> {
        match self.memo.get(&place) {
            Some(id) => self.push(*id),
            None => Err(self.operand("a remembered value")),
        }
    }

    fn remember(&mut self, place: u32) -> Result<()> {
        let top = self.top()?;
        self.memo.insert(place, top);
        Ok(())
    }
}
