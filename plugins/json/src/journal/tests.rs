use super::*;
use crate::config::Config;

/// The place of the store `s` in a folder.
fn place(folder: &Path, password: &str) -> Place {
    let config = format!(r#"{{"name": "s", "subfolder": "", "password": "{password}"}}"#);
    Place::new(&Config::parse(&config).expect("settings"), folder).expect("a place")
}

fn changes() -> Vec<Changes> {
    let change = |name: &str, before: Option<&str>, after: Option<&str>| Change {
        name: json::quote(name),
        before: before.map(str::to_owned),
        after: after.map(str::to_owned),
    };
    vec![
        Changes {
            file: "a.json".to_owned(),
            records: vec![change("1", Some("{\"x\": 1}"), Some("{\"x\": \"\u{2028}\\ud800\"}"))],
        },
        Changes { file: "b.json".to_owned(), records: vec![change("é\"", None, Some("5")), change("2", Some("6"), None)] },
    ]
}

#[test]
fn a_journal_says_the_same_when_it_is_read_and_a_torn_one_says_nothing() {
    let text = encode(&changes());
    assert_eq!(decode(text.as_bytes()), Some(changes()));
    for cut in 0..text.len() {
        assert_eq!(decode(&text.as_bytes()[..cut]), None);
    }
    assert_eq!(decode(text.replace("6", "7").as_bytes()), None);
}

#[test]
fn what_is_no_whole_journal_of_ours_is_never_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = place(folder.path(), "");
    let path = place.journal.clone();
    let newer = "hivemind-journal 2 whatever\nbinary";
    fs::write(&path, newer).expect("written");
    let error = replay(&place, |warning| panic!("{warning}")).expect_err("newer");
    assert_eq!((error.code(), fs::read_to_string(&path).expect("kept").as_str()), (Code::TooNew, newer));
    let torn = encode(&changes()).replace('6', "7");
    let damaged = [torn.as_str(), "hivemind-journal 1", "hivemind-jou", "\0\0\0"];
    for content in damaged {
        fs::write(&path, content).expect("written");
        let mut warnings = Vec::new();
        replay(&place, |warning| warnings.push(warning.to_owned())).expect("set aside");
        assert!(!path.exists() && warnings.len() == 1 && warnings[0].contains("s.journal.damaged"), "{warnings:?}");
    }
    let kept = |suffix: &str| fs::read_to_string(folder.path().join(format!("s.journal.damaged{suffix}"))).expect("kept");
    assert_eq!([kept(""), kept(".2"), kept(".3"), kept(".4")], damaged);
    fs::write(&path, "").expect("written");
    replay(&place, |warning| panic!("{warning}")).expect("nothing to do");
    assert!(!path.exists());
}

#[test]
fn a_journal_of_many_records_is_carried_out_in_one_pass_over_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, place) = (folder.path().join("a.json"), place(folder.path(), ""));
    let many = 20_000;
    let records: Vec<_> = (0..many).map(|n| format!("\"{n}\": 1")).collect();
    fs::write(&file, format!("{{{}}}", records.join(","))).expect("written");
    let change = |n: usize| Change { name: json::quote(&n.to_string()), before: Some("1".into()), after: Some("2".into()) };
    write(&place, &[Changes { file: "a.json".to_owned(), records: (0..many).map(change).collect() }]).expect("written");
    let since = std::time::Instant::now();
    replay(&place, |warning| panic!("{warning}")).expect("replayed");
    assert!(since.elapsed() < std::time::Duration::from_secs(8), "{:?}", since.elapsed());
    assert!(!fs::read_to_string(&file).expect("read").contains(": 1"));
}

#[test]
fn a_journal_names_no_file_outside_of_the_folder() {
    let outside = vec![Changes { file: "../a.json".to_owned(), records: vec![] }];
    assert_eq!(decode(encode(&outside).as_bytes()), None);
}

#[test]
fn replaying_finishes_the_batch_wherever_it_was_cut_and_keeps_later_changes() {
    let folder = tempfile::tempdir().expect("a folder");
    let (a, b, place) = (folder.path().join("a.json"), folder.path().join("b.json"), place(folder.path(), ""));
    let read = |path| fs::read_to_string(path).expect("read");
    let after_a = "{\n    \"1\": {\"x\": \"\\u2028\\ud800\"}\n}";
    let after_b = "{\n    \"3\": 0,\n    \"é\\\"\": 5\n}";
    for already in [false, true] {
        fs::write(&a, if already { after_a } else { "{\"1\": {\"x\":1.0}}" }).expect("written");
        fs::write(&b, "{\"2\": 6, \"3\": 0}").expect("written");
        write(&place, &changes()).expect("written");
        replay(&place, |warning| panic!("{warning}")).expect("replayed");
        assert_eq!((read(&a).as_str(), read(&b).as_str()), (after_a, after_b));
        assert!(!place.journal.exists());
    }
    fs::write(&a, "{\"1\": \"changed since\"}").expect("written");
    write(&place, &changes()).expect("written");
    let mut warnings = 0;
    replay(&place, |_| warnings += 1).expect("replayed");
    assert_eq!((read(&a).as_str(), warnings), ("{\"1\": \"changed since\"}", 1));
}

#[test]
fn what_was_renamed_before_a_cut_lasts_before_the_journal_goes() {
    let (folder, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (a, b, place) = (folder.path().join("a.json"), folder.path().join("b.json"), place(folder.path(), ""));
    let real = other.path().join("real.json");
    std::os::unix::fs::symlink(&real, &a).expect("a link");
    fs::write(&real, "{\"1\": {\"x\": \"\\u2028\\ud800\"}}").expect("written");
    fs::write(&b, "{\"2\": 6}").expect("written");
    write(&place, &changes()).expect("written");
    let synced = std::cell::RefCell::new(Vec::new());
    let sync = |fails: bool| {
        let synced = &synced;
        let journal = &place.journal;
        move |folder: &Path| {
            assert!(journal.exists());
            synced.borrow_mut().push(folder.to_owned());
            if fails { Err(Error::io("planted")) } else { Ok(()) }
        }
    };
    let panics = |warning: &str| panic!("{warning}");
    assert_eq!(replay_with(&place, panics, sync(true)).expect_err("planted").message(), "planted");
    assert!(place.journal.exists(), "it is carried out again");
    replay_with(&place, panics, sync(false)).expect("replayed");
    assert_eq!(*synced.borrow(), [other.path(), other.path()]);
    assert!(!place.journal.exists());
}

#[test]
fn the_journal_of_an_encrypted_store_holds_nothing_in_plain() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = place(folder.path(), "sixteen letters!");
    let (file, read) = (folder.path().join("a.ejson"), |path: &Path| fs::read(path).expect("read"));
    let text = "{\"1\": {\"x\": \"secret before\"}}";
    fs::write(&file, place.coding.encoded(text).expect("sealed")).expect("written");
    let change = |before: &str, after: &str| Change {
        name: "\"1\"".to_owned(),
        before: Some(format!("{{\"x\": \"{before}\"}}")),
        after: Some(format!("{{\"x\": \"{after}\"}}")),
    };
    let changes = [Changes { file: "a.ejson".to_owned(), records: vec![change("secret before", "secret after")] }];
    write(&place, &changes).expect("written");
    let journal = read(&place.journal);
    let holds = |bytes: &[u8]| bytes.windows(6).any(|w| w == b"secret" || w == b"a.ejso");
    assert!(!holds(&journal), "{}", String::from_utf8_lossy(&journal));
    // Another password leaves it alone.
    let other = super::tests::place(folder.path(), "sixteen others !");
    assert_eq!(replay(&other, |warning| panic!("{warning}")).expect_err("not ours").code(), Code::Denied);
    assert_eq!(read(&place.journal), journal);
    replay(&place, |warning| panic!("{warning}")).expect("replayed");
    let text = place.coding.decode(read(&file)).expect("opened");
    assert_eq!(String::from_utf8_lossy(&text), "{\n    \"1\": {\"x\": \"secret after\"}\n}");
    // One byte of it is damaged: that the password is right, the store itself says, if there is one.
    let mut damaged = journal.clone();
    let digit = damaged.windows(10).position(|w| w == b"ciphertext").expect("there") + 20;
    damaged[digit] = if damaged[digit] == b'0' { b'1' } else { b'0' };
    for (primary, is_set_aside) in [
        (None, false),
        (Some(b"{}".to_vec()), false),
        (Some(other.coding.encoded("{\"1\": {}}").expect("sealed").into_owned()), false),
        (Some(place.coding.encoded("{\"1\": {}}").expect("sealed").into_owned()), true),
    ] {
        fs::write(&place.journal, &damaged).expect("written");
        if let Some(content) = primary {
            fs::write(&place.primary, content).expect("written");
        }
        let mut warned = String::new();
        let replayed = replay(&place, |warning| warned = warning.to_owned());
        assert_eq!((replayed.is_ok(), place.journal.exists()), (is_set_aside, !is_set_aside), "{replayed:?}");
        if let Err(error) = replayed {
            assert_eq!((error.code(), error.detail().field.as_deref()), (Code::Denied, Some("password")));
            assert!(error.message().contains("s.ejournal") && error.message().contains("move it away"), "{error}");
        } else {
            assert!(warned.contains("s.ejournal.damaged"), "{warned}");
            assert_eq!(read(&folder.path().join("s.ejournal.damaged")), damaged);
        }
    }
    fs::write(&place.journal, &journal[..journal.len() / 2]).expect("torn");
    let mut warned = String::new();
    replay(&place, |warning| warned = warning.to_owned()).expect("set aside");
    assert!(warned.contains("s.ejournal.damaged"), "{warned}");
}
