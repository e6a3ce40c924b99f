//! INTERCOM: sealed for one receiver by its key, and signed by its sender.
//!
//! This node has no key that anything could be sealed for, so it only passes on. What names its receiver is checked there. What names
//! none is tried by everybody, so it goes on only if the satellite that sent it is the one that signed it: RSA-PSS with SHA-256, by the
//! key that its client has pinned.

use hivemind_model::base64;
use hivemind_protocol::Envelope;
use tokio_rustls::rustls::pki_types::SubjectPublicKeyInfoDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use webpki::RawPublicKeyEntity;
use webpki::ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY;

use crate::text::is_true;

/// Whether an INTERCOM is to go on, from a client with this key pinned.
pub(super) fn is_for_others(intercom: &Envelope<'_>, node_id: &str, pinned: Option<&str>) -> bool {
    if let Some(key) = intercom.target_pubkey.filter(|key| is_true(*key)) {
        return key.as_str().is_none_or(|key| key != node_id);
    }
    is_signed(intercom, pinned).is_some()
}

fn is_signed(intercom: &Envelope<'_>, pinned: Option<&str>) -> Option<()> {
    let payload = intercom.payload.object().ok()?;
    let bytes = |name| payload.text(name).and_then(|text| base64::decode(&text));
    let key = SubjectPublicKeyInfoDer::from_pem_slice(pinned?.as_bytes()).ok()?;
    let key = RawPublicKeyEntity::try_from(&key).ok()?;
    // A key that says `rsaEncryption` of itself, as the Python packages make them.
    key.verify_signature(RSA_PSS_2048_8192_SHA256_LEGACY_KEY, &bytes("ciphertext")?, &bytes("signature")?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Made by the Python packages, `create_RSA_key` and `sign_RSA` of `poorman_handshake`.
    const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
         MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAmE+bLQlJQmaEDtvqTaK6\n\
         vfTuk5WYzne5+mR/cblUsi5jhQvFVCrrV4NDqBgGxvkX9mTk8Rg7J5Nxe79TpzsB\n\
         i93oMizmysVvY6dG1Pm13l54MxmoUrg1+WZ4gT8hGiByXjIFSIMNpq6WirYT/weF\n\
         mHsgC1A9L957iJZwIfS7a5Uo+4JwIf97Bz3umyfBuqanw1LUys01vkigkBiD9r/2\n\
         RaOaBDEwMj/bjUxaCfFJ4KeCLwPqO/YMcOGVRw1mVRIgkOpZKLgb9SuH4Wb5pxp/\n\
         Qs5CkrW1SgW4b8ARzzf9BQCdv7klERSxMbtl+aM4tga3F8ez1q1N6LqyEYCrAFqG\n\
         ewIDAQAB\n\
         -----END PUBLIC KEY-----";
    const CIPHERTEXT: &str = "YSBzZWFsZWQgbWVzc2FnZQ==";
    const SIGNATURE: &str = "DRcR+pLSl5JxvZqIO0r2qq37VxMqyDtmX5Ecj606oLNxyHN5SgXZ8lLV6sHjMuIXNok2kt+GpdvZZeVRimCsArZNGiMpxUwk5A91\
         oIRACoKvnHRQ7by7VVWV0e6ZenST9EqXSbAGoEQOjeeYH0D9gc5gF+LpUNj4gluHvPCHllw2N7brq8VZpcfC6u0fQjZ+cIs/ehuS\
         isHPrcjXQ/MnW0OR8Ntq0ZvQpXRS2rz1XphOd9J2AAs4pZBJWO32Stl+8LNG3pCvGdU4xqyHYd0mCL8xhu1wmcztsuYPISOasbAO\
         lR/AvXIb9AmD5agBE9m8GUC6Kgi9jNv/ObPmrIB9iQ==";

    fn goes_on(intercom: &serde_json::Value, pinned: Option<&str>) -> bool {
        let text = intercom.to_string();
        is_for_others(&Envelope::parse(&text).expect("an envelope"), "NODE", pinned)
    }

    fn intercom(ciphertext: &str, signature: &str) -> serde_json::Value {
        json!({"msg_type": "intercom", "payload": {"ciphertext": ciphertext, "signature": signature}})
    }

    #[test]
    fn what_names_no_receiver_goes_on_if_its_sender_signed_it() {
        let signed = intercom(CIPHERTEXT, SIGNATURE);
        assert!(goes_on(&signed, Some(KEY)) && goes_on(&signed, Some(&format!("\n{KEY}\n"))));
        assert!(!goes_on(&intercom("eA==", SIGNATURE), Some(KEY)), "of something else");
        for wrong in ["", "x", "eA==", &SIGNATURE.replace('a', "b")] {
            assert!(!goes_on(&intercom(CIPHERTEXT, wrong), Some(KEY)), "{wrong}");
        }
        for pinned in [None, Some(""), Some("a key"), Some(&KEY[..200]), Some(&*KEY.replace("MIIB", "MIIC"))] {
            assert!(!goes_on(&signed, pinned), "{pinned:?}");
        }
        let unsigned = json!({"msg_type": "intercom", "payload": {"ciphertext": CIPHERTEXT}});
        assert!(!goes_on(&unsigned, Some(KEY)));
    }

    #[test]
    fn what_names_its_receiver_goes_on_unless_that_is_this_node() {
        let to = |key: &str| json!({"msg_type": "intercom", "payload": {}, "target_pubkey": key});
        assert!(goes_on(&to("ANOTHER"), None) && !goes_on(&to("NODE"), Some(KEY)));
        assert!(!goes_on(&to(""), None), "nobody is named");
    }

    #[test]
    fn a_cut_key_verifies_nothing() {
        let signed = intercom(CIPHERTEXT, SIGNATURE);
        for end in 0..KEY.len() {
            assert!(!goes_on(&signed, Some(&KEY[..end])), "{end}");
            let closed = format!("{}\n-----END PUBLIC KEY-----", &KEY[..end]);
            // All that is missing may be what closes it.
            assert!(end > KEY.len() - 26 || !goes_on(&signed, Some(&closed)), "{end}");
        }
    }
}
