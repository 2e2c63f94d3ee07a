//! A reader of DER (X.690): as much of it as keys and certificate extensions need.

/// Universal and context tags that are read here.
pub mod tag {
    pub const BOOLEAN: u8 = 0x01;
    pub const INTEGER: u8 = 0x02;
    pub const BIT_STRING: u8 = 0x03;
    pub const OCTET_STRING: u8 = 0x04;
    pub const OBJECT_IDENTIFIER: u8 = 0x06;
    pub const UTC_TIME: u8 = 0x17;
    pub const GENERALIZED_TIME: u8 = 0x18;
    pub const SEQUENCE: u8 = 0x30;
    /// [0] IMPLICIT of a primitive type.
    pub const CONTEXT_0: u8 = 0x80;
    /// [0] EXPLICIT.
    pub const CONTEXT_0_CONSTRUCTED: u8 = 0xa0;
    /// [3] EXPLICIT.
    pub const CONTEXT_3_CONSTRUCTED: u8 = 0xa3;
}

/// What is left to read of a value's content.
#[derive(Clone, Copy)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next value: its tag, its content, and itself with its header. `None` at the end, and for what is not DER:
    /// a tag of several octets, an indefinite length, a length that is not the shortest or is beyond the input.
    pub fn next(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let [tag, first, ..] = *self.0 else { return None };
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (header, length) = match first {
            0..=0x7f => (2, usize::from(first)),
            0x81 => match *self.0.get(2)? {
                length @ 0x80.. => (3, usize::from(length)),
                _ => return None,
            },
            0x82 => match u16::from_be_bytes([*self.0.get(2)?, *self.0.get(3)?]) {
                length @ 0x100.. => (4, usize::from(length)),
                _ => return None,
            },
            _ => return None,
        };
        let (value, rest) = self.0.split_at_checked(header + length)?;
        self.0 = rest;
        Some((tag, &value[header..], value))
    }

    /// The content of the next value, which must have this tag.
    pub fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let (found, content, _) = ahead.next()?;
        (found == tag).then(|| {
            *self = ahead;
            content
        })
    }

    /// The content of a value with this tag that fills the whole input.
    pub fn only(input: &'a [u8], tag: u8) -> Option<&'a [u8]> {
        let mut reader = Reader(input);
        let content = reader.expect(tag)?;
        reader.is_empty().then_some(content)
    }
}
