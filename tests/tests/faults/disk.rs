//! A real file system that is really full, and one that is read-only: a small tmpfs, mounted where nobody else sees it.
//!
//! Mounting needs rights. The tests run themselves again in a mount namespace of their own, as root or as one in a user namespace.
//! Where neither is allowed they say so on standard error, past the test harness, and fail if `HIVEMIND_REQUIRE_MOUNT` is set, as
//! `cargo xtask ci` does; each_call.rs still makes the same faults.

use hivemind_model::{Backend, Code, Context};
use hivemind_tests::faults::process::{content, open, prepare, problems};
use hivemind_tests::faults::site::{Age, Backend as _, Files, Site};
use hivemind_tests::mounts::{Mounted, fill, in_namespace, is_inside, run};

use super::{assert_helpful, client, increment, note, start};

/// A store whose data lie on a file system of 1 MiB.
fn small_disk(backend: Files) -> (Box<dyn Site>, Mounted) {
    let site = backend.fresh(Age::New).expect("a store");
    let data = site.opening().data_dir;
    std::fs::create_dir_all(&data).expect("a folder");
    let mounted = Mounted::tmpfs("1m", &data);
    (site, mounted)
}

fn fills(backend: Files) {
    let (site, _mounted) = small_disk(backend);
    let filler = site.opening().data_dir.join("filler");
    let cx = Context::unbounded();
    let process = start(&*site);
    let handle = &process.handle;
    let ids = prepare(handle).expect("prepared");
    handle.apply(&cx, &[client(ids, "one"), note(ids, "a", 300)]).expect("there is room");
    let beside = start(&*site);
    prepare(&beside.handle).expect("prepared");
    let mut refused = 0;
    // The disk becomes full at another write each time; the sum of the batches fits into it.
    for spare in 0..14 {
        let before = content(handle, ids).expect("read");
        fill(&filler, spare);
        let batch = [note(ids, "big", 20_000), increment(ids, "a"), client(ids, &format!("with {spare} pages"))];
        let applied = handle.apply(&cx, &batch);
        let now = content(handle, ids).expect("a full disk can be read");
        assert!(content(&beside.handle, ids).as_ref() == Ok(&now), "{spare} pages: the other process sees something else");
        if let Err(error) = applied {
            refused += 1;
            assert_helpful(&error, &*site, &format!("{spare} pages"));
            assert!(error.code() == Code::Io && error.message().contains("free space"), "{spare} pages: {error}");
            assert!(now == before, "{spare} pages: not as it was, behind {error}");
            std::fs::remove_file(&filler).expect("freed");
            handle.apply(&cx, &batch).unwrap_or_else(|e| panic!("{spare} pages, freed: {e}"));
        } else {
            assert!(now != before, "{spare} pages: nothing happened");
            std::fs::remove_file(&filler).expect("freed");
        }
    }
    assert!(refused > 1, "the disk was full {refused} times only");
    assert_eq!(problems(handle), Ok(Vec::new()));
    let last = content(handle, ids).expect("read");
    drop(beside);
    handle.close(&cx).expect("closed");
    drop(process);
    let next = open(&*site).expect("opened");
    prepare(&*next).expect("prepared");
    assert!(content(&*next, ids) == Ok(last), "not the same when opened anew");
    next.close(&cx).expect("closed");
}

fn is_read_only(backend: Files) {
    let (site, _mounted) = small_disk(backend);
    let data = site.opening().data_dir;
    let cx = Context::unbounded();
    let handle = open(&*site).expect("opened");
    let ids = prepare(&*handle).expect("prepared");
    handle.apply(&cx, &[client(ids, "one"), note(ids, "a", 300)]).expect("applied");
    let before = content(&*handle, ids).expect("read");
    if backend == Files::Json {
        // Files are opened by their path for each write, so a read-only layer over the folder is enough; the system allows no more
        // under an open handle.
        run("mount", &["--bind", &data.display().to_string()], &data);
        run("mount", &["-o", "remount,bind,ro"], &data);
        let error = handle.apply(&cx, &[increment(ids, "a")]).expect_err("read-only");
        assert_helpful(&error, &*site, "read-only");
        assert_eq!((error.code(), content(&*handle, ids).as_ref()), (Code::Denied, Ok(&before)), "{error}");
        run("umount", &["--lazy"], &data);
        handle.apply(&cx, &[increment(ids, "a")]).expect("writable again");
    }
    let before = content(&*handle, ids).expect("read");
    handle.close(&cx).expect("closed");
    drop(handle);
    run("mount", &["-o", "remount,ro"], &data);
    // A store that was migrated and is whole may be read; what is refused says why.
    match open(&*site).and_then(|h| prepare(&*h).map(|_| h)) {
        Ok(handle) => {
            assert_eq!(content(&*handle, ids).as_ref(), Ok(&before));
            let error = handle.apply(&cx, &[increment(ids, "a")]).expect_err("read-only");
            assert_helpful(&error, &*site, "opened read-only");
            let _ = handle.close(&cx);
        }
        Err(error) => {
            assert_helpful(&error, &*site, "opening read-only");
            assert_eq!(error.code(), Code::Denied, "{error}");
        }
    }
    run("mount", &["-o", "remount,rw"], &data);
    let next = open(&*site).expect("opened");
    prepare(&*next).expect("prepared");
    assert!(content(&*next, ids) == Ok(before), "not the same when opened anew");
    next.apply(&cx, &[increment(ids, "a")]).expect("writable again");
    next.close(&cx).expect("closed");
}

#[test]
fn sqlite_stands_a_full_disk() {
    in_namespace("disk::inside_sqlite_on_a_full_disk");
}

#[test]
fn json_stands_a_full_disk() {
    in_namespace("disk::inside_json_on_a_full_disk");
}

#[test]
fn sqlite_stands_a_read_only_disk() {
    in_namespace("disk::inside_sqlite_on_a_read_only_disk");
}

#[test]
fn json_stands_a_read_only_disk() {
    in_namespace("disk::inside_json_on_a_read_only_disk");
}

#[test]
#[ignore = "run by sqlite_stands_a_full_disk where it may mount"]
fn inside_sqlite_on_a_full_disk() {
    if is_inside() {
        fills(Files::Sqlite);
    }
}

#[test]
#[ignore = "run by json_stands_a_full_disk where it may mount"]
fn inside_json_on_a_full_disk() {
    if is_inside() {
        fills(Files::Json);
    }
}

#[test]
#[ignore = "run by sqlite_stands_a_read_only_disk where it may mount"]
fn inside_sqlite_on_a_read_only_disk() {
    if is_inside() {
        is_read_only(Files::Sqlite);
    }
}

#[test]
#[ignore = "run by json_stands_a_read_only_disk where it may mount"]
fn inside_json_on_a_read_only_disk() {
    if is_inside() {
        is_read_only(Files::Json);
    }
}
