use super::*;
use crate::vectors;

#[test]
fn the_canonical_form_is_pythons() {
    for vector in vectors::of("canonical") {
        let json = vectors::text(vector, "json");
        let ours = canonical(json.as_bytes()).expect(json);
        assert_eq!(String::from_utf8(ours).expect("UTF-8"), vectors::text(vector, "canonical"), "{json}");
    }
}

#[test]
fn what_python_could_not_encode_is_refused() {
    assert_eq!(canonical(br#"["\ud800"]"#), Err(Malformed::Surrogate));
    assert_eq!(canonical(br#"{"\udc00": 1}"#), Err(Malformed::Surrogate));
    assert_eq!(canonical(b"\xff"), Err(Malformed::WrongKind));
    assert!(matches!(canonical(b"{"), Err(Malformed::NotJson(_))));
}
