use std::io::Write as _;

use super::*;

const PASSWORD: &str = "sixteen letters!";

fn cipher(password: &str) -> Cipher {
    Cipher::new(password).expect(password)
}

fn opened(content: &[u8]) -> Result<String> {
    cipher(PASSWORD).open(content).map(|text| String::from_utf8(text).expect("UTF-8"))
}

#[test]
fn every_password_that_python_takes_opens_what_it_sealed_and_no_other_does() {
    for password in [PASSWORD, "8lettersüüüüüüüü", "üüüüüüüüüüüüüüüü", "🐝🐝üü123456789012"] {
        let Ok(cipher) = Cipher::new(password) else { panic!("{password}: {}", password.len()) };
        let sealed = cipher.seal(&["{\"ü\": ", "\"🐝\"}"]).expect("sealed");
        assert_eq!(cipher.open(&sealed).expect("opened"), b"{\"\\u00fc\": \"\\ud83d\\udc1d\"}");
        assert_eq!(Cipher::new("another password").expect("a key").open(&sealed).expect_err("another").code(), Code::Denied);
        assert!(!format!("{cipher:?}").contains(password));
    }
}

#[test]
fn a_password_of_another_length_is_refused_and_not_shown() {
    for (password, characters, bytes) in
        [("hunter2", 7, 7), ("hunter2-hunter2-hunter2-", 24, 24), ("hunter2-hunter2ü", 16, 17), ("üüüüüüüü", 8, 16)]
    {
        let error = Cipher::new(password).expect_err(password);
        assert_eq!(error.code(), Code::Invalid);
        assert!(error.message().contains(&format!("{characters} characters of {bytes} bytes")), "{error}");
        assert!(!format!("{error} {error:?}").contains(password), "{error}");
    }
}

#[test]
fn each_writing_has_a_nonce_of_its_own_and_pythons_layout() {
    let sealed = |_| String::from_utf8(cipher(PASSWORD).seal(&["{}"]).expect("sealed")).expect("ASCII");
    let [a, b] = [0, 1].map(sealed);
    let nonce = |text: &str| json::parse(text).expect("JSON").member("nonce").expect("a nonce").raw.to_owned();
    assert_ne!(nonce(&a), nonce(&b));
    assert_eq!(nonce(&a).len(), 34);
    let lines: Vec<_> = a.lines().map(|l| l.split(": ").next().unwrap_or(l)).collect();
    assert_eq!(lines, ["{", "    \"ciphertext\"", "    \"tag\"", "    \"nonce\"", "}"]);
}

#[test]
fn whatever_is_changed_in_a_file_is_noticed() {
    let sealed = cipher(PASSWORD).seal(&["{\"1\": {\"client_id\": 1}}"]).expect("sealed");
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
        if changed == sealed {
            continue;
        }
        let error = opened(&changed).expect_err("changed");
        assert!(matches!(error.code(), Code::Denied | Code::Corrupt), "{error}");
        let cut = opened(&sealed[..at]).expect_err("cut");
        assert_eq!(cut.code(), Code::Corrupt, "{cut}");
    }
}

#[test]
fn what_is_no_envelope_says_what_it_is() {
    assert_eq!(opened(b"{}").expect("an empty store"), "{}");
    for (content, said) in [
        (&b"{\"1\": {\"client_id\": 1}}"[..], "looks like a store that is not encrypted"),
        (b"[]", "found a list"),
        (b"", "line 1 column 1"),
        (b"\xff", "no text"),
        (b"{\"ciphertext\": 5, \"nonce\": \"\"}", "a number"),
        (b"{\"ciphertext\": \"0g\", \"nonce\": \"\"}", "not hexadecimal"),
        (b"{\"ciphertext\": \"00\", \"nonce\": \"00\"}", "tag of 16 bytes, found 1"),
        (b"{\"ciphertext\": \"\", \"tag\": \"00000000000000000000000000000000\", \"nonce\": \"00\"}", "found 1"),
    ] {
        let error = opened(content).expect_err(said);
        assert!(error.code() == Code::Corrupt && error.message().contains(said), "{error}");
    }
}

#[test]
fn what_may_not_be_read_is_not_written_and_what_may_be_written_is_read() {
    let with = |limit| Cipher { limit, ..cipher(PASSWORD) };
    let limit = Limit { bytes: 1 << 20, times: 200 };
    let repeated = |bytes: usize| format!("{{\"1\": \"{}\"}}", "x".repeat(bytes));
    let error = with(limit).seal(&[&repeated(4 << 20)]).expect_err("too small when it is compressed");
    assert_eq!(error.code(), Code::Unsupported);
    assert!(error.message().contains("1048576 bytes, or 200 times") && error.message().contains("not damaged"), "{error}");
    // Another writer's: with its level 9 it shrinks even more.
    let bomb = with(LIMIT).seal(&[&repeated(4 << 20)]).expect("below");
    assert_eq!(with(limit).open(&bomb).expect_err("beyond").code(), Code::Unsupported);
    assert_eq!(with(LIMIT).open(&bomb).expect("opened").len(), (4 << 20) + 9);
    for bytes in [0, (1 << 20) - 9] {
        let sealed = with(limit).seal(&[&repeated(bytes)]).expect("below");
        assert_eq!(with(limit).open(&sealed).expect("opened").len(), bytes + 9);
    }
    // What counts is the size as it is written, in ASCII.
    assert_eq!(with(limit).seal(&[&"\u{fc}".repeat(1 << 18)]).expect_err("six bytes each").code(), Code::Unsupported);
}

#[test]
fn a_decompression_bomb_of_another_writer_is_bounded() {
    let limit = Limit { bytes: 1 << 20, times: 200 };
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
    zlib.write_all(&vec![b' '; 4 << 20]).expect("written");
    let bomb = zlib.finish().expect("a bomb");
    assert!(bomb.len() < 1 << 13);
    assert_eq!(decompressed(&bomb, limit).expect_err("a bomb").code(), Code::Unsupported);
    assert_eq!(decompressed(&bomb[..bomb.len() / 2], LIMIT).expect_err("cut").code(), Code::Corrupt);
}
