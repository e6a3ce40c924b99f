//! Which slot of a cluster a command belongs to.

use crc16::{State, XMODEM};
use redis::{Arg, Cmd};

/// How many slots a cluster has.
pub(crate) const SLOTS: u16 = 16_384;

/// The slot of a key: of what is between its first braces, if there is something.
pub(crate) fn slot_of(key: &[u8]) -> u16 {
    let tag = || {
        let open = key.iter().position(|b| *b == b'{')? + 1;
        let length = key[open..].iter().position(|b| *b == b'}')?;
        (length > 0).then(|| &key[open..open + length])
    };
    State::<XMODEM>::calculate(tag().unwrap_or(key)) % SLOTS
}

/// An argument of a command, its name being the first.
pub(crate) fn argument(command: &Cmd, at: usize) -> Option<&[u8]> {
    match command.args_iter().nth(at)? {
        Arg::Simple(bytes) => Some(bytes),
        _ => None,
    }
}

/// The slot of a command's first key; `None` for commands without one, which any master answers.
pub(crate) fn command_slot(command: &Cmd) -> Option<u16> {
    const KEYLESS: [&str; 22] = [
        "ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DBSIZE", "ECHO", "FUNCTION", "HELLO", "INFO", "LASTSAVE", "LATENCY",
        "MODULE", "PING", "ROLE", "SAVE", "BGSAVE", "SCAN", "SCRIPT", "SLOWLOG", "TIME", "WAIT",
    ];
    let name = argument(command, 0)?;
    let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
    if KEYLESS.into_iter().any(is) || name.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(b"FT.")) {
        return None;
    }
    let at = if ["EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO", "FCALL", "FCALL_RO"].into_iter().any(is) {
        if argument(command, 2)? == b"0" {
            return None;
        }
        3
    } else if is("OBJECT") || is("MEMORY") {
        2
    } else {
        1
    };
    argument(command, at).map(slot_of)
}

#[cfg(test)]
mod tests {
    use redis::cmd;

    use super::*;

    #[test]
    fn keys_are_found_where_commands_have_them() {
        let b = Some(slot_of(b"b"));
        assert_eq!(command_slot(cmd("GET").arg("b")), b);
        assert_eq!(command_slot(cmd("evalsha").arg("x").arg(2).arg("b").arg("c")), b);
        assert_eq!(command_slot(cmd("EVAL").arg("return 1").arg(0).arg("b")), None);
        assert_eq!(command_slot(cmd("MEMORY").arg("USAGE").arg("b")), b);
        assert_eq!(command_slot(cmd("FT.SEARCH").arg("b")), None);
        assert_eq!(command_slot(cmd("info").arg("server")), None);
    }
}
