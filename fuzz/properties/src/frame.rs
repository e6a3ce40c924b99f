//! Frames of a session by somebody who has the keys and says what no sealer would: opened exactly as the rules of chunks have it.

use hivemind_protocol::session::MAX_BODY;
use hivemind_protocol::{BinaryFrame, Body, Message, SessionError};

use crate::noise;

/// What an opener should hold.
enum Expected {
    Nothing,
    Open(Body, Vec<u8>),
}

/// A byte chooses what is sent: 0 to 199, so many of the following bytes as one frame's plaintext; from 200 on a chunk of 65,000
/// bytes with the next byte as its marker; 250 to 252, the last frame again, the following three bytes unsealed, and one that was
/// left out. A first byte above 127: the input as a whole is a WIRE-1 frame.
///
/// # Panics
/// Where a property does not hold.
pub fn check(data: &[u8]) {
    if data.first().is_some_and(|first| *first > 127) {
        return wire1(&data[1..]);
    }
    let (mut stranger, mut node) = noise::met();
    let mut expected = Expected::Nothing;
    let (mut rest, mut last) = (data, Vec::new());
    while let Some((choice, after)) = rest.split_first() {
        let plain = match choice {
            0..200 => {
                let (plain, after) = after.split_at(usize::from(*choice).min(after.len()));
                rest = after;
                plain.to_vec()
            }
            250..253 => {
                let frame = match choice {
                    250 => last,
                    251 => after[..after.len().min(3)].to_vec(),
                    _ => {
                        let _ = sealed(&mut stranger, b"\0{}");
                        sealed(&mut stranger, b"\0{}")
                    }
                };
                assert_eq!(node.open(&frame), Err(SessionError::Foreign));
                return;
            }
            _ => {
                let Some((marker, after)) = after.split_first() else { return };
                rest = after;
                let mut plain = vec![b'a'; 65_001];
                plain[0] = *marker;
                plain
            }
        };
        last = sealed(&mut stranger, &plain);
        let found = node.open(&last);
        match (expect(&mut expected, &plain), found) {
            (Ok(None), Ok(None)) => {}
            (Ok(Some((Body::Json, body))), Ok(Some(Message::Json(text)))) => assert_eq!(body, text.as_bytes()),
            (Ok(Some((Body::Binary, body))), Ok(Some(Message::Binary(bytes)))) => assert_eq!(body, bytes),
            (Err(ours), Err(theirs)) => {
                assert_eq!(ours, theirs);
                // There is no way back.
                assert_eq!(node.open(&sealed(&mut stranger, b"\0{}")), Err(theirs));
                return;
            }
            (_, found) => panic!("{found:?}"),
        }
    }
}

fn sealed(stranger: &mut snow::TransportState, plain: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; plain.len() + 16];
    stranger.write_message(plain, &mut frame).expect("it fits");
    frame
}

type Whole = Option<(Body, Vec<u8>)>;

/// What the rules say of a plaintext.
fn expect(state: &mut Expected, plain: &[u8]) -> Result<Whole, SessionError> {
    let (marker, chunk) = plain.split_first().ok_or(SessionError::Marker)?;
    let kind = if marker % 2 == 0 { Body::Json } else { Body::Binary };
    let whole = match (marker, std::mem::replace(state, Expected::Nothing)) {
        (6.., _) => return Err(SessionError::Marker),
        (0 | 1, Expected::Nothing) => (kind, chunk.to_vec()),
        (2 | 3, Expected::Nothing) => {
            *state = Expected::Open(kind, chunk.to_vec());
            return Ok(None);
        }
        (4 | 5, Expected::Open(kind, mut body)) => {
            body.extend_from_slice(chunk);
            if body.len() > MAX_BODY {
                return Err(SessionError::TooLarge);
            }
            if *marker == 4 {
                *state = Expected::Open(kind, body);
                return Ok(None);
            }
            (kind, body)
        }
        _ => return Err(SessionError::Sequence),
    };
    match whole {
        (Body::Json, body) if std::str::from_utf8(&body).is_err() => Err(SessionError::NotText),
        whole => Ok(Some(whole)),
    }
}

/// What is read as a frame is written as one that says the same.
fn wire1(frame: &[u8]) {
    let Ok(read) = BinaryFrame::parse(frame) else { return };
    serde_json::from_str::<serde_json::Value>(&read.metadata)
        .map_or_else(|_| assert!(hivemind_model::json::parse(&read.metadata).is_ok()), |metadata| assert!(metadata.is_object()));
    match read.to_bytes() {
        Ok(bytes) => assert_eq!(BinaryFrame::parse(&bytes), Ok(read)),
        Err(_) => assert!(read.metadata.len() > 255, "it could be read, and not be written"),
    }
}
