//! Values into bytes.

/// Appends values to a buffer, each in its shortest form.
#[derive(Debug, Default)]
pub struct Writer {
    buf: Vec<u8>,
}

impl Writer {
    /// An empty writer.
    #[must_use]
    pub const fn new() -> Self {
        Self { buf: Vec::new() }
    }

    /// A writer with room for `bytes`.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { buf: Vec::with_capacity(bytes) }
    }

    /// What was written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.buf
    }

    /// How many bytes were written.
    pub(crate) const fn len(&self) -> usize {
        self.buf.len()
    }

    /// How many bytes an integer takes.
    pub(crate) const fn int_len(v: i64) -> usize {
        match v {
            -32..=0x7f => 1,
            -0x80..=-33 | 0x80..=0xff => 2,
            -0x8000..=-0x81 | 0x100..=0xffff => 3,
            -0x8000_0000..=-0x8001 | 0x1_0000..=0xffff_ffff => 5,
            _ => 9,
        }
    }

    /// How many bytes a string of so many takes.
    pub(crate) const fn str_len(len: usize) -> usize {
        match len {
            0..=31 => 1 + len,
            _ => Self::bin_len(len),
        }
    }

    /// How many bytes so many bytes take.
    pub(crate) const fn bin_len(len: usize) -> usize {
        match len {
            0..=0xff => 2 + len,
            0x100..=0xffff => 3 + len,
            _ => 5 + len,
        }
    }

    /// How many bytes the head of an array of `len` values takes.
    pub(crate) const fn array_len(len: usize) -> usize {
        match len {
            0..=15 => 1,
            16..=0xffff => 3,
            _ => 5,
        }
    }

    fn tagged(&mut self, tag: u8, bytes: &[u8]) {
        self.buf.push(tag);
        self.buf.extend_from_slice(bytes);
    }

    /// Writes nil.
    pub fn nil(&mut self) {
        self.buf.push(0xc0);
    }

    /// Writes a boolean.
    pub fn bool(&mut self, v: bool) {
        self.buf.push(if v { 0xc3 } else { 0xc2 });
    }

    /// Writes a signed integer.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "each arm's range fits its type")]
    pub fn int(&mut self, v: i64) {
        match v {
            0.. => self.uint(v as u64),
            -32..=-1 => self.buf.push(v as u8),
            -0x80..=-33 => self.tagged(0xd0, &[v as u8]),
            -0x8000..=-0x81 => self.tagged(0xd1, &(v as i16).to_be_bytes()),
            -0x8000_0000..=-0x8001 => self.tagged(0xd2, &(v as i32).to_be_bytes()),
            _ => self.tagged(0xd3, &v.to_be_bytes()),
        }
    }

    /// Writes an unsigned integer.
    #[expect(clippy::cast_possible_truncation, reason = "each arm's range fits its type")]
    pub fn uint(&mut self, v: u64) {
        match v {
            0..=0x7f => self.buf.push(v as u8),
            0x80..=0xff => self.tagged(0xcc, &[v as u8]),
            0x100..=0xffff => self.tagged(0xcd, &(v as u16).to_be_bytes()),
            0x1_0000..=0xffff_ffff => self.tagged(0xce, &(v as u32).to_be_bytes()),
            _ => self.tagged(0xcf, &v.to_be_bytes()),
        }
    }

    /// Writes a double.
    pub fn real(&mut self, v: f64) {
        self.tagged(0xcb, &v.to_be_bytes());
    }

    #[expect(clippy::cast_possible_truncation, reason = "each arm's range fits its type; no buffer reaches 4 GiB")]
    fn length(&mut self, len: usize, fix: Option<(u8, usize)>, tags: [Option<u8>; 3]) {
        match (fix, tags) {
            (Some((base, max)), _) if len <= max => self.buf.push(base | len as u8),
            (_, [Some(tag), _, _]) if len <= 0xff => self.tagged(tag, &[len as u8]),
            (_, [_, Some(tag), _]) if len <= 0xffff => self.tagged(tag, &(len as u16).to_be_bytes()),
            (_, [_, _, tag]) => self.tagged(tag.unwrap_or(0xc1), &(len as u32).to_be_bytes()),
        }
    }

    /// Writes a string.
    pub fn str(&mut self, v: &str) {
        self.length(v.len(), Some((0xa0, 31)), [Some(0xd9), Some(0xda), Some(0xdb)]);
        self.buf.extend_from_slice(v.as_bytes());
    }

    /// Writes bytes.
    pub fn bin(&mut self, v: &[u8]) {
        self.length(v.len(), None, [Some(0xc4), Some(0xc5), Some(0xc6)]);
        self.buf.extend_from_slice(v);
    }

    /// Starts an array of `len` values.
    pub fn array(&mut self, len: usize) {
        self.length(len, Some((0x90, 15)), [None, Some(0xdc), Some(0xdd)]);
    }

    /// Starts a map of `len` pairs.
    pub fn map(&mut self, len: usize) {
        self.length(len, Some((0x80, 15)), [None, Some(0xde), Some(0xdf)]);
    }

    /// Appends an already encoded value.
    pub fn raw(&mut self, encoded: &[u8]) {
        self.buf.extend_from_slice(encoded);
    }
}
