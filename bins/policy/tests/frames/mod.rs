//! Protocol buffers without generated code: messages as trees of numbered fields.

use std::fmt;

/// A message, or the bytes of a field that may be one.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Message(Vec<u8>);

/// What a field has.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Number(u64),
    Bytes(Vec<u8>),
}

impl Message {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// The messages at a path of field numbers, through every repetition.
    pub(crate) fn all(&self, path: &[u64]) -> Vec<Self> {
        let [first, rest @ ..] = path else { return vec![self.clone()] };
        let deeper = self.fields().into_iter().filter(|(number, _)| number == first).filter_map(|(_, value)| match value {
            Value::Bytes(bytes) => Some(Self(bytes)),
            Value::Number(_) => None,
        });
        deeper.flat_map(|message| message.all(rest)).collect()
    }

    /// The only message at a path.
    pub(crate) fn one(&self, path: &[u64]) -> Self {
        let mut all = self.all(path);
        assert_eq!(all.len(), 1, "{path:?} of {self:?}");
        all.remove(0)
    }

    pub(crate) fn has(&self, path: &[u64]) -> bool {
        !self.all(path).is_empty()
    }

    /// The texts at a path.
    pub(crate) fn texts(&self, path: &[u64]) -> Vec<String> {
        self.all(path).into_iter().map(|message| String::from_utf8(message.0).unwrap()).collect()
    }

    /// The number at a path; zero where there is none, as the format has it.
    pub(crate) fn number(&self, path: &[u64]) -> u64 {
        let (last, front) = path.split_last().unwrap();
        let mut numbers = self.all(front).into_iter().flat_map(|message| message.fields()).filter_map(|(number, value)| match value {
            Value::Number(found) if number == *last => Some(found),
            _ => None,
        });
        numbers.next_back().unwrap_or_default()
    }

    /// The pairs of a map at a path, sorted.
    pub(crate) fn map(&self, path: &[u64]) -> Vec<(String, String)> {
        let text = |entry: &Self, number| entry.texts(&[number]).pop().unwrap_or_default();
        let mut pairs: Vec<_> = self.all(path).iter().map(|entry| (text(entry, 1), text(entry, 2))).collect();
        pairs.sort();
        pairs
    }

    fn fields(&self) -> Vec<(u64, Value)> {
        let (mut rest, mut fields) = (&self.0[..], Vec::new());
        while !rest.is_empty() {
            let tag = varint(&mut rest);
            let value = match tag & 7 {
                0 => Value::Number(varint(&mut rest)),
                1 => Value::Number(u64::from_le_bytes(take(&mut rest, 8).try_into().unwrap())),
                2 => {
                    let len = usize::try_from(varint(&mut rest)).unwrap();
                    Value::Bytes(take(&mut rest, len).to_vec())
                }
                5 => Value::Number(u32::from_le_bytes(take(&mut rest, 4).try_into().unwrap()).into()),
                other => panic!("wire type {other}"),
            };
            fields.push((tag >> 3, value));
        }
        fields
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.fields()).finish()
    }
}

/// A field with bytes: a text, or a message.
pub(crate) fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut all = vec![number << 3 | 2];
    put(&mut all, bytes.len() as u64);
    all.extend_from_slice(bytes);
    all
}

/// A field with a number.
pub(crate) fn number(number: u8, value: u64) -> Vec<u8> {
    let mut all = vec![number << 3];
    put(&mut all, value);
    all
}

/// A field with four bytes.
pub(crate) fn fixed(number: u8, value: u32) -> Vec<u8> {
    let mut all = vec![number << 3 | 5];
    all.extend_from_slice(&value.to_le_bytes());
    all
}

fn put(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

fn varint(from: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = take(from, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
        shift += 7;
    }
}

fn take<'a>(from: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (taken, rest) = from.split_at(len);
    *from = rest;
    taken
}
