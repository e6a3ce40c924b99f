use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::vectors;

#[test]
fn frames_of_the_reference_are_read_as_it_reads_them() {
    for vector in vectors::of("frames") {
        let frame = vectors::bytes(vector, "frame");
        let ours = BinaryFrame::parse(&frame);
        let Some(kind) = vector["kind"].as_str() else {
            assert!(ours.is_err(), "{vector}");
            continue;
        };
        let ours = ours.unwrap_or_else(|e| panic!("{e}: {vector}"));
        assert_eq!(ours.kind.word(), kind);
        assert_eq!(u64::from(ours.bin_type), vector["bin_type"].as_u64().expect("a number"));
        assert_eq!(serde_json::from_str::<Value>(&ours.metadata).expect("JSON"), vector["metadata"]);
        if ours.kind == MessageType::Binary {
            assert_eq!(ours.payload, vectors::bytes(vector, "payload"));
        } else {
            let json = |text: &[u8]| serde_json::from_slice::<Value>(text).expect("JSON");
            assert_eq!(json(&ours.payload), json(vectors::text(vector, "payload").as_bytes()));
        }
        // What the reference writes uncompressed and without a version, this writes the same.
        let is_plain = frame.windows(2).any(|pair| pair == b"{}") || frame.len() < 4;
        if is_plain && BinaryFrame::parse(&ours.to_bytes().expect("a frame")).is_ok() && !is_versioned(&frame) {
            assert_eq!(ours.to_bytes().expect("a frame"), frame, "{vector}");
        }
    }
}

fn is_versioned(frame: &[u8]) -> bool {
    frame[0] << frame[0].leading_zeros() & 0x40 != 0
}

#[test]
fn what_inflates_without_end_is_refused() {
    use std::io::Write as _;
    // A bus message, compressed, no metadata.
    let frame = |length: usize| {
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        zlib.write_all(&[b"{}", " ".repeat(length - 2).as_bytes()].concat()).expect("compressed");
        let frame = [&[0x80 | 1 << 1 | 1, 0], zlib.finish().expect("compressed").as_slice()].concat();
        assert!(frame.len() < 2000);
        BinaryFrame::parse(&frame)
    };
    assert_eq!(frame(MAX_INFLATED_PAYLOAD).expect("a frame").payload.len(), MAX_INFLATED_PAYLOAD);
    assert_eq!(frame(MAX_INFLATED_PAYLOAD + 1), Err(FrameError::Compression));
}

#[test]
fn what_cannot_be_a_frame_is_not_made_one() {
    let frame = BinaryFrame { kind: MessageType::Intercom, metadata: "{}".to_owned(), bin_type: 0, payload: b"{}".to_vec() };
    assert_eq!(frame.to_bytes(), Err(FrameError::Type));
    let frame = BinaryFrame { kind: MessageType::Binary, metadata: format!("{{}}{}", " ".repeat(254)), ..frame };
    assert_eq!(frame.to_bytes(), Err(FrameError::Metadata));
}

proptest! {
    #[test]
    fn a_frame_is_read_as_it_was_written(
        payload in prop::collection::vec(any::<u8>(), 0..300),
        words in prop::collection::btree_map("[a-z]{1,5}", 0..1000_u32, 0..8),
        bin_type in 0..=MAX_BIN_TYPE,
    ) {
        let metadata = serde_json::to_string(&words).expect("JSON");
        let frame = BinaryFrame { kind: MessageType::Binary, metadata, bin_type, payload };
        let bytes = frame.to_bytes().expect("a frame");
        prop_assert_eq!(BinaryFrame::parse(&bytes), Ok(frame));
        for cut in 0..bytes.len().min(20) {
            let _ = BinaryFrame::parse(&bytes[..cut]);
        }
    }

    #[test]
    fn bytes_of_others_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = BinaryFrame::parse(&bytes);
    }
}
