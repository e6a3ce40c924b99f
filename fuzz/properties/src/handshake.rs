//! Whatever a stranger says at any step: without the password there is no session, and with it only for what is well formed.

use hivemind_protocol::{HandshakeError, Initiator, RawJson, Satellite, StaticKey, Step, Suite};

use crate::noise::{self, CHOICE};

/// The first byte chooses the step at which the stranger deviates, the rest is what it says there.
///
/// # Panics
/// Where a property does not hold.
pub fn check(data: &[u8]) {
    let Some((step, said)) = data.split_first() else { return };
    match step % 6 {
        0 => instead_of_the_first(said),
        1 => within_the_first(said),
        2 => changed_first(said),
        3 => instead_of_the_last(said),
        4 => within_the_last(said),
        _ => to_a_satellite(said),
    }
}

fn json(bytes: &[u8]) -> Option<RawJson<'_>> {
    RawJson::parse(std::str::from_utf8(bytes).ok()?).ok()
}

fn refused(error: &HandshakeError) {
    assert!(error.reason().len() <= 123, "{error:?} does not fit into a close frame");
    assert!(!error.to_string().is_empty());
}

fn instead_of_the_first(said: &[u8]) {
    let Some(payload) = json(said) else { return };
    let mut node = noise::responder();
    match node.select(payload) {
        Ok(_) => assert_eq!(node.read_first(&noise::psk()).expect_err("nobody guesses a tag"), HandshakeError::Failed),
        Err(error) => refused(&error),
    }
    assert_eq!(node.select(payload).expect_err("once"), HandshakeError::OutOfTurn);
}

/// Anybody can write a first message, because the password is not in it yet; but only with an object in it, or nothing.
fn within_the_first(said: &[u8]) {
    let mut node = noise::responder();
    let said = &said[..said.len().min(60_000)];
    let first = noise::payload(CHOICE, &noise::write(&mut noise::stranger(), said));
    node.select(RawJson::parse(&first).expect("JSON")).expect("offered");
    let is_object = said.is_empty() || json(said).is_some_and(RawJson::is_object);
    match node.read_first(&noise::psk()) {
        Ok(Step::Reply(_)) => assert!(is_object),
        Ok(Step::Done { .. }) => panic!("a session after one message"),
        Err(error) => assert!(!is_object && error == HandshakeError::Failed),
    }
}

/// Pairs of bytes say what is changed in a good message, and to what.
fn changed_first(said: &[u8]) {
    let good = noise::write(&mut noise::stranger(), b"{}");
    let mut changed = good.clone();
    for change in said.chunks_exact(2) {
        let at = usize::from(change[0]) % changed.len();
        changed[at] = change[1];
    }
    changed.truncate(changed.len() - usize::from(said.len() % 2 == 1));
    let mut node = noise::responder();
    let first = noise::payload(CHOICE, &changed);
    node.select(RawJson::parse(&first).expect("JSON")).expect("offered");
    assert_eq!(node.read_first(&noise::psk()).is_ok(), changed == good);
}

fn instead_of_the_last(said: &[u8]) {
    let Some(payload) = json(said) else { return };
    let mut node = noise::responder();
    let first = noise::payload(CHOICE, &noise::write(&mut noise::stranger(), b""));
    node.select(RawJson::parse(&first).expect("JSON")).expect("offered");
    assert!(matches!(node.read_first(&noise::psk()), Ok(Step::Reply(_))));
    refused(&node.read_last(payload).expect_err("nobody guesses a tag"));
    assert_eq!(node.read_last(payload).expect_err("once"), HandshakeError::OutOfTurn);
}

/// Whoever has the password may say in the last message what it likes: nobody looks at it.
fn within_the_last(said: &[u8]) {
    let (mut stranger, mut node) = (noise::stranger(), noise::responder());
    let first = noise::payload(CHOICE, &noise::write(&mut stranger, b""));
    node.select(RawJson::parse(&first).expect("JSON")).expect("offered");
    let Ok(Step::Reply(second)) = node.read_first(&noise::psk()) else { panic!("the first message fits") };
    noise::read(&mut stranger, &second);
    let last = noise::payload("", &noise::write(&mut stranger, &said[..said.len().min(60_000)]));
    let step = node.read_last(RawJson::parse(&last).expect("JSON")).expect("it fits");
    let key = StaticKey::from_hex(&"1".repeat(64)).expect("64 digits");
    assert!(matches!(step, Step::Done { remote_static, reply: None, .. } if remote_static == key.public()));
}

/// A node may say what it likes, too.
fn to_a_satellite(said: &[u8]) {
    let Some(payload) = json(said) else { return };
    let (hello, offer) = noise::openings();
    let (hello, offer) = (json(&hello).expect("JSON"), json(&offer).expect("JSON"));
    let (key, psk) = (noise::node_key(), noise::psk());
    let satellite = Satellite { key: &key, psk: &psk, suite: Suite::ChaChaPoly, known: None };
    for (hello, offer) in [(payload, offer), (hello, payload)] {
        if let Ok(mut made) = Initiator::new(satellite, hello, offer) {
            made.first().expect("a message");
        }
    }
    let mut made = Initiator::new(satellite, hello, offer).expect("offered");
    made.first().expect("a message");
    refused(&made.read(payload).expect_err("nobody guesses a tag"));
}
