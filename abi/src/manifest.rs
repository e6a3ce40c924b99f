//! The manifest: what a plugin says about itself before any of its code has run.
//!
//! It is JSON text in a section of the library of its own, put together at compile time, because the host must know a plugin's name,
//! ABI and target while the file is still only a file. After loading, the library must state the same text.

use crate::model::Capability;

/// The section that holds the manifest, as each object format names it.
pub const SECTION: &str = if cfg!(target_vendor = "apple") {
    "__hivemind"
} else if cfg!(windows) {
    ".hvmind"
} else {
    ".hivemind"
};

/// The version of the manifest's own form.
pub const FORMAT: u32 = 1;

/// What [`export_backend!`](crate::export_backend) is given and finds out.
#[derive(Debug, Clone, Copy)]
pub struct Parts {
    /// The module name.
    pub module: &'static str,
    /// Other names.
    pub aliases: &'static [&'static str],
    /// The plugin's own version.
    pub version: &'static str,
    /// Who made it.
    pub vendor: &'static str,
    /// An SPDX expression, or `proprietary`.
    pub licence: &'static str,
    /// The panic strategy it was built with.
    pub panic: &'static str,
    /// The most it can promise.
    pub capabilities: &'static [Capability],
    /// JSON Schema of its settings block.
    pub config_schema: &'static str,
}

/// The length of the manifest of these parts.
#[must_use]
pub const fn length(parts: &Parts) -> usize {
    write::<0>(parts).length
}

/// The manifest of these parts; `N` is its [`length`].
#[must_use]
pub const fn json<const N: usize>(parts: &Parts) -> [u8; N] {
    write::<N>(parts).bytes
}

/// A buffer that counts beyond its end, so that the same code measures and writes.
struct Out<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Out<N> {
    const fn raw(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut i = 0;
        while i < bytes.len() {
            self.byte(bytes[i]);
            i += 1;
        }
    }

    const fn byte(&mut self, byte: u8) {
        if self.length < N {
            self.bytes[self.length] = byte;
        }
        self.length += 1;
    }

    const fn string(&mut self, text: &str) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        self.byte(b'"');
        let bytes = text.as_bytes();
        let mut i = 0;
        while i < bytes.len() {
            match bytes[i] {
                b'"' | b'\\' => {
                    self.byte(b'\\');
                    self.byte(bytes[i]);
                }
                control @ 0..=0x1f => {
                    self.raw("\\u00");
                    self.byte(HEX[(control >> 4) as usize]);
                    self.byte(HEX[(control & 15) as usize]);
                }
                other => self.byte(other),
            }
            i += 1;
        }
        self.byte(b'"');
    }

    const fn member(&mut self, name: &str, value: &str) {
        self.byte(b',');
        self.string(name);
        self.byte(b':');
        self.string(value);
    }
}

const fn write<const N: usize>(parts: &Parts) -> Out<N> {
    let mut out = Out { bytes: [0; N], length: 0 };
    out.raw("{\"manifest\":1");
    out.member("module", parts.module);
    out.raw(",\"aliases\":[");
    let mut i = 0;
    while i < parts.aliases.len() {
        if i > 0 {
            out.byte(b',');
        }
        out.string(parts.aliases[i]);
        i += 1;
    }
    out.byte(b']');
    out.member("version", parts.version);
    out.member("vendor", parts.vendor);
    out.member("licence", parts.licence);
    out.member("abi", crate::ABI_VERSION);
    out.member("target", env!("HIVEMIND_TARGET"));
    out.member("rustc", env!("HIVEMIND_RUSTC"));
    out.member("panic", parts.panic);
    out.raw(",\"capabilities\":[");
    let mut i = 0;
    while i < parts.capabilities.len() {
        if i > 0 {
            out.byte(b',');
        }
        out.string(parts.capabilities[i].name());
        i += 1;
    }
    out.raw("],\"config\":");
    out.raw(parts.config_schema);
    out.byte(b'}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_json_with_every_part() {
        const PARTS: Parts = Parts {
            module: "a\"b\\c\n",
            aliases: &["x", "y"],
            version: "1.2.3",
            vendor: "Ä",
            licence: "MIT",
            panic: "unwind",
            capabilities: &[Capability::Durable, Capability::Unique],
            config_schema: "{\"type\": \"object\"}",
        };
        static BYTES: [u8; length(&PARTS)] = json(&PARTS);
        let text = std::str::from_utf8(&BYTES).expect("UTF-8");
        let json = crate::model::json::parse(text).expect(text);
        let member = |name: &str| json.member(name).map(|m| m.raw);
        assert_eq!(member("module"), Some("\"a\\\"b\\\\c\\u000a\""));
        assert_eq!(member("aliases"), Some("[\"x\",\"y\"]"));
        assert_eq!(member("capabilities"), Some("[\"durable\",\"unique\"]"));
        assert_eq!(member("config"), Some("{\"type\": \"object\"}"));
        assert_eq!(member("abi"), Some("\"1.0.0\""));
    }
}
