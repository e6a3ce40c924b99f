use super::*;
use crate::handshake::tests::met;

/// Two ends of one session.
fn ends() -> (Session, Session) {
    met()
}

fn sealed(session: &mut Session, kind: Body, body: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    session.seal(kind, body, &mut |frame| frames.push(frame)).expect("sealed");
    frames
}

/// Seals a plaintext that no sealer would.
fn forged(session: &mut Session, plain: &[u8]) -> Vec<u8> {
    let Some((marker, chunk)) = plain.split_first() else {
        let sealer = &mut session.sealer;
        let mut frame = vec![0; TAG];
        sealer.keys.write_message(sealer.sent, b"", &mut frame).expect("sealed");
        sealer.sent += 1;
        return frame;
    };
    session.sealer.frame(*marker, chunk).expect("sealed")
}

#[test]
fn messages_of_every_length_arrive_in_both_directions() {
    let (mut satellite, mut node) = ends();
    for length in [0, 1, 499, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1, 1_000_000] {
        for kind in [Body::Json, Body::Binary] {
            let body = vec![b'a'; length];
            let frames = sealed(&mut satellite, kind, &body);
            assert_eq!(frames.len(), length.div_ceil(CHUNK).max(1));
            let (last, before) = frames.split_last().expect("a frame");
            for frame in before {
                assert_eq!(node.open(frame), Ok(None));
            }
            let message = node.open(last).expect("whole").expect("a message");
            match message {
                Message::Json(text) => assert!(kind == Body::Json && text.as_bytes() == body),
                Message::Binary(bytes) => assert!(kind == Body::Binary && bytes == body),
            }
        }
        std::mem::swap(&mut satellite, &mut node);
    }
}

#[test]
fn the_longest_message_arrives_and_none_longer() {
    let (mut satellite, mut node) = ends();
    let body = vec![b'x'; MAX_BODY];
    let mut arrived = 0;
    let mut take = |frame: Vec<u8>| match node.open(&frame).expect("the next frame") {
        Some(Message::Binary(bytes)) => arrived = bytes.len(),
        _ => assert!(matches!(&node.opener.long, Long::Open(_, bytes) if bytes.capacity() <= MAX_BODY)),
    };
    satellite.seal(Body::Binary, &body, &mut take).expect("sealed");
    assert_eq!(arrived, MAX_BODY);
    let before = satellite.sealer.sent;
    assert_eq!(satellite.seal(Body::Json, &vec![0; MAX_BODY + 1], &mut |_| panic!("a frame")), Err(SessionError::TooLarge));
    assert_eq!(satellite.sealer.sent, before, "the session goes on");

    // Whoever goes on and on is cut off at the bound.
    let chunk = vec![0; CHUNK];
    let first = satellite.sealer.frame(marker::FIRST_BINARY, &chunk).expect("sealed");
    assert_eq!(node.open(&first), Ok(None));
    let error = loop {
        let more = satellite.sealer.frame(marker::MORE, &chunk).expect("sealed");
        match node.open(&more) {
            Ok(message) => assert_eq!(message, None),
            Err(error) => break error,
        }
    };
    assert_eq!(error, SessionError::TooLarge);
}

#[test]
fn a_frame_that_is_not_the_next_one_ends_the_session() {
    let spoils: [fn(&mut Vec<Vec<u8>>); 7] = [
        |frames| frames.swap(0, 1),
        |frames| frames.insert(1, frames[0].clone()),
        |frames| drop(frames.remove(0)),
        |frames| frames[0][3] ^= 1,
        |frames| {
            frames[0].pop();
        },
        |frames| frames[0].clear(),
        |frames| frames[0] = vec![0; 70_000],
    ];
    for spoil in spoils {
        let (mut satellite, mut node) = ends();
        let mut frames = [sealed(&mut satellite, Body::Json, b"{}"), sealed(&mut satellite, Body::Json, b"[]")].concat();
        spoil(&mut frames);
        let refused = frames.iter().filter_map(|frame| node.open(frame).err()).collect::<Vec<_>>();
        assert_eq!(refused.first(), Some(&SessionError::Foreign));
        // Even what would have been the next frame.
        let next = sealed(&mut satellite, Body::Json, b"{}").remove(0);
        assert_eq!(node.open(&next), Err(SessionError::Foreign));
    }
}

#[test]
fn one_end_cannot_be_answered_with_what_it_has_said() {
    let (mut satellite, _node) = ends();
    let frame = sealed(&mut satellite, Body::Json, b"{}").remove(0);
    assert_eq!(satellite.open(&frame), Err(SessionError::Foreign));
}

#[test]
fn chunks_come_in_their_order() {
    let json = |marker: u8| [marker, b'{', b'}'];
    for (plains, error) in [
        (vec![json(marker::MORE)], SessionError::Sequence),
        (vec![json(marker::LAST)], SessionError::Sequence),
        (vec![json(marker::FIRST_JSON), json(marker::JSON)], SessionError::Sequence),
        (vec![json(marker::FIRST_JSON), json(marker::BINARY)], SessionError::Sequence),
        (vec![json(marker::FIRST_JSON), json(marker::FIRST_BINARY)], SessionError::Sequence),
        (vec![json(6)], SessionError::Marker),
        (vec![json(255)], SessionError::Marker),
    ] {
        let (mut satellite, mut node) = ends();
        let (last, before) = plains.split_last().expect("one");
        for plain in before {
            assert_eq!(node.open(&forged(&mut satellite, plain)), Ok(None));
        }
        assert_eq!(node.open(&forged(&mut satellite, last)), Err(error), "{plains:?}");
    }
    let (mut satellite, mut node) = ends();
    assert_eq!(node.open(&forged(&mut satellite, b"")), Err(SessionError::Marker));
    let (mut satellite, mut node) = ends();
    assert_eq!(node.open(&forged(&mut satellite, &[marker::JSON, 0xff])), Err(SessionError::NotText));
    // Half a character in each of two chunks is one in the whole.
    let (mut satellite, mut node) = ends();
    assert_eq!(node.open(&forged(&mut satellite, &[marker::FIRST_JSON, 0xc3])), Ok(None));
    assert_eq!(node.open(&forged(&mut satellite, &[marker::LAST, 0xa9])), Ok(Some(Message::Json("\u{e9}"))));
    assert_eq!(node.open(&forged(&mut satellite, &[marker::LAST, 0xa9])), Err(SessionError::Sequence));
}

#[test]
fn what_a_long_message_needed_is_let_go() {
    let (mut satellite, mut node) = ends();
    for (at, frame) in sealed(&mut satellite, Body::Json, &vec![b'a'; 1_000_000]).iter().enumerate() {
        let _ = node.open(frame).expect("the next frame");
        assert_eq!(node.opener.held(), Some(1_000_000.min((at + 1) * CHUNK)));
    }
    let short = sealed(&mut satellite, Body::Json, b"{}").remove(0);
    assert_eq!(node.open(&short), Ok(Some(Message::Json("{}"))));
    assert!(matches!(node.opener.long, Long::None));
    assert!(node.opener.frame.capacity() <= KEPT);

    for frame in sealed(&mut satellite, Body::Json, &vec![b'a'; 1_000_000]) {
        let _ = node.open(&frame).expect("the next frame");
    }
    node.opener.let_go();
    assert_eq!(node.opener.held(), None);
    let first = forged(&mut satellite, &[marker::FIRST_JSON, b'{']);
    assert_eq!(node.open(&first), Ok(None));
    node.opener.let_go();
    assert_eq!(node.opener.held(), Some(1), "what is not whole stays");
}

#[test]
fn two_tasks_can_have_a_direction_each() {
    fn is_send(_: &(impl Send + 'static)) {}
    let (satellite, mut node) = ends();
    let (mut sealer, opener) = satellite.split();
    is_send(&sealer);
    is_send(&opener);
    sealer.seal(Body::Json, b"{}", &mut |frame| assert_eq!(node.open(&frame), Ok(Some(Message::Json("{}"))))).expect("sealed");
}
