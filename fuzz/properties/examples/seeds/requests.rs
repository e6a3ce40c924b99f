//! Everything that is MessagePack: rows, requests and replies.

use std::time::Duration;

use hivemind_fuzz_properties::Specimen::{Clients, Kinds, Notes};
use hivemind_fuzz_properties::collections;
use hivemind_model::msgpack::Writer;
use hivemind_model::wire::Wire;
use hivemind_model::*;

use crate::Seeds;

fn json(text: &str) -> Value {
    Value::Json(text.to_owned())
}

fn client(id: i64, key: &str) -> Row {
    let collection = &collections()[Clients as usize];
    let row = Row::builder(collection)
        .set("client_id", id)
        .and_then(|b| b.set("api_key", key))
        .and_then(|b| b.set("name", "küche"))
        .and_then(|b| b.set("password", "correct horse"))
        .and_then(|b| b.set("allowed_types", json(r#"["speak"]"#)))
        .and_then(|b| b.set("metadata", json(r#"{"noise_psk": "aa", "message_blacklist": [], "n": 1.50}"#)));
    row.expect("a client").build()
}

fn kinds(id: i64, n: i64, code: &str) -> Row {
    let collection = &collections()[Kinds as usize];
    let mut row = Row::builder(collection).set("id", id).expect("an id");
    for suffix in ["", "_indexed"] {
        for (name, value) in [
            ("flag", Value::Bool(n % 2 == 0)),
            ("n", n.into()),
            ("r", Value::Real(f64::from(i32::try_from(n).unwrap_or(0)) / 4.0)),
            ("t", format!("t{n}\0é").into()),
            ("b", Value::Blob(vec![0, 255, u8::try_from(n).unwrap_or(7)])),
        ] {
            row = row.set(&format!("{name}{suffix}"), value).expect(name);
        }
    }
    let row = row.set("j", json(r#"["a", 1, 2.0, null, {"m": [true]}]"#)).and_then(|r| r.set("code", code));
    row.and_then(|r| r.set("more", json(r#"{"m": 5, "s": "x", "o": {}}"#))).expect("a row").build()
}

fn note(name: &str) -> Row {
    let collection = &collections()[Notes as usize];
    Row::builder(collection).set("name", name).and_then(|r| r.set("body", "text")).expect("a note").build()
}

pub(crate) fn write() {
    rows();
    requests();
    replies();
    engine();
}

fn rows() {
    let seeds = Seeds::of("row");
    seeds.put_for("client", Clients, client(1, "0123456789abcdef").as_bytes());
    seeds.put_for("client-cut", Clients, &client(1, "0123456789abcdef").as_bytes()[..40]);
    seeds.put_for("kinds", Kinds, kinds(i64::MIN, 3, "free").as_bytes());
    seeds.put_for("note", Notes, note("a").as_bytes());
    let row = |write: &dyn Fn(&mut Writer)| {
        let mut w = Writer::new();
        write(&mut w);
        w.into_bytes()
    };
    seeds.put_for(
        "short",
        Clients,
        row(&|w| {
            w.array(2);
            w.int(7);
            w.str("k");
        }),
    );
    seeds.put_for(
        "no-key",
        Clients,
        row(&|w| {
            w.array(2);
            w.nil();
            w.str("k");
        }),
    );
    seeds.put_for(
        "deep-metadata",
        Clients,
        row(&|w| {
            w.array(12);
            w.int(7);
            (0..10).for_each(|_| w.nil());
            w.str(&format!("{{\"d\": {}1{}}}", "[".repeat(198), "]".repeat(198)));
        }),
    );
    seeds.put_for(
        "null-metadata",
        Clients,
        row(&|w| {
            w.array(12);
            w.int(7);
            (0..10).for_each(|_| w.nil());
            w.str(" null\n");
        }),
    );
    let reals = [("nan", f64::NAN), ("infinity", f64::INFINITY), ("negative-zero", -0.0), ("least", 5e-324)];
    for (name, real) in reals {
        seeds.put_for(
            &format!("real-{name}"),
            Kinds,
            row(&|w| {
                w.array(4);
                w.int(1);
                w.bool(true);
                w.int(i64::MAX);
                w.real(real);
            }),
        );
    }
    for (name, bytes) in [
        ("float-32", &b"\x94\x01\xc0\xc0\xca\x3f\x80\x00\x00"[..]),
        ("unsigned-64", b"\x91\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("long-forms", b"\xdd\x00\x00\x00\x05\xd3\x00\x00\x00\x00\x00\x00\x00\x01\xc2\xd0\x01\xcb\x00\x00\x00\x00\x00\x00\x00\x00\xdb\x00\x00\x00\x01a"),
        ("a-lie-about-length", b"\xdd\xff\xff\xff\xff"),
        ("a-lie-about-text", b"\x95\x01\xc0\xc0\xc0\xdb\x7f\xff\xff\xff"),
        ("extension", b"\x92\x01\xd4\x01\x00"),
        ("not-utf-8", b"\x95\x01\xc0\xc0\xc0\xa2\xc3\x28"),
        ("trailing", b"\x91\x01\xc0"),
    ] {
        seeds.put_for(name, Kinds, bytes);
    }
}

fn conditions() -> Vec<Condition> {
    let mut all: Vec<_> = Op::ALL.into_iter().map(|op| Condition::new(1, op, 2.5).on_member("m")).collect();
    all.push(Condition::with_operands(2, Op::In, vec![1.into(), Value::Nil, Value::Blob(vec![0]), json("[1]"), "t".into()]));
    all
}

fn query() -> Query {
    Query {
        collection: CollectionId(3),
        all: conditions(),
        order: vec![Order { field: 0, descending: true }, Order { field: 2, descending: false }],
        limit: Some(u64::MAX),
        offset: 9,
        after: Some(Continuation { values: vec![Value::Nil, Value::Real(-0.0)], key: Key::Int(i64::MIN) }),
    }
}

fn mutations() -> Vec<Mutation> {
    let (collection, row, field) = (CollectionId(3), client(1, "k"), 1);
    let changes = vec![
        Change::set(1, Value::Nil),
        Change::Increment { field, by: Value::Int(i64::MAX) },
        Change::JsonSet { field, name: "n".to_owned(), json: "[]".to_owned() },
        Change::JsonUnset { field, name: String::new() },
        Change::ListAdd { field, item: Value::Real(f64::MIN_POSITIVE) },
        Change::ListRemove { field, item: "é".into() },
    ];
    vec![
        Mutation::Insert { collection, row: row.clone() },
        Mutation::InsertNext { collection, row: row.clone() },
        Mutation::Put { collection, row: row.clone() },
        Mutation::Update { collection, key: "k\0".into(), changes, when: conditions() },
        Mutation::Delete { collection, key: 1.into(), when: conditions() },
        Mutation::DeleteWhere { query: query() },
        Mutation::Expect { collection, key: 1.into(), row: None },
        Mutation::Expect { collection, key: 1.into(), row: Some(row) },
    ]
}

fn requests() {
    let seeds = Seeds::of("wire");
    seeds.put_chosen("collections", 0, collections().to_vec().to_bytes());
    seeds.put_chosen("query", 1, query().to_bytes());
    seeds.put_chosen("mutations", 2, mutations().to_bytes());
    for (n, mutation) in mutations().into_iter().enumerate() {
        seeds.put_chosen(&format!("mutation-{n}"), 2, vec![mutation].to_bytes());
    }
    seeds.put_chosen("keys", 3, vec![Key::Int(i64::MIN), Key::Int(300), "k\0é".into()].to_bytes());
    for (n, value) in
        [Value::Nil, Value::Bool(true), Value::Real(f64::NAN), json("{}"), Value::Blob(vec![7; 300])].iter().enumerate()
    {
        seeds.put_chosen(&format!("value-{n}"), 4, value.to_bytes());
    }
    let rekey = |password: Option<&str>| Task::Rekey { password: password.map(str::to_owned) };
    let restore = |keep: Option<&str>| Task::Restore { from: "/x".to_owned(), keep: keep.map(str::to_owned) };
    let tasks = [
        Task::Verify,
        Task::Vacuum,
        Task::Checkpoint,
        Task::Backup { to: "/x".to_owned() },
        rekey(None),
        rekey(Some("p")),
        restore(None),
        restore(Some("/y")),
        Task::VerifyBackup { from: "/x".to_owned(), collections: vec![Collection::new("notes", 1, "id", Kind::Text)] },
        Task::Repair,
    ];
    for (n, task) in tasks.iter().enumerate() {
        seeds.put_chosen(&format!("task-{n}"), 5, task.to_bytes());
    }
    seeds.put_chosen("numbers", 15, vec![0_u32, u32::MAX, 300].to_bytes());
    seeds.put_chosen("conditions", 16, conditions().to_bytes());
    seeds.put_chosen("continuation", 17, query().after.to_bytes());
    seeds.put_chosen("unknown-tag", 1, b"\x82\x00\x01\x3c\xc3");
    seeds.put_chosen("unknown-mutation", 2, b"\x91\x92\x63\x80");
    seeds.put_chosen("deep", 13, [&b"\x82\x00\x01\x09"[..], &[0x91; 40], b"\x01"].concat());
}

fn replies() {
    let seeds = Seeds::of("wire");
    let error = Error::corrupt("cannot be read").mutation(4).collection("c").key(2.into()).field("f").place("/x");
    let row = client(1, "k");
    seeds.put_chosen("lookups", 6, Vec::<Lookup>::from([Ok(None), Ok(Some(row.clone())), Err(error.clone())]).to_bytes());
    let page = Page {
        rows: vec![row.clone(), row.clone()],
        next: query().after,
        unreadable: vec![Unreadable { key: 6.into(), message: "x".to_owned() }],
    };
    seeds.put_chosen("page", 7, page.to_bytes());
    let outcomes = vec![
        Outcome::Inserted(1.into()),
        Outcome::Put { replaced: true },
        Outcome::Updated(row),
        Outcome::Deleted(3),
        Outcome::Expected,
    ];
    seeds.put_chosen("applied", 8, Applied { outcomes, token: Token { epoch: u64::MAX, sequence: 1 } }.to_bytes());
    for (n, changes) in [Changes::Nothing, Changes::Everything, Changes::Keys(vec![1.into(), "a".into()])].iter().enumerate() {
        seeds.put_chosen(&format!("changes-{n}"), 9, changes.to_bytes());
    }
    let problem = Problem { collection: "c".to_owned(), key: Some(1.into()), message: "m".to_owned() };
    seeds.put_chosen("report", 10, Report { problems: vec![problem], ..Report::new().with("n", 1).with("t", "x") }.to_bytes());
    seeds.put_chosen("report-odd", 10, b"\x81\x00\x93\xa1a\x01\xa1b");
    let resource = Resource { kind: "file".to_owned(), id: "1:2".to_owned(), name: "/x".to_owned() };
    seeds.put_chosen("resources", 11, vec![resource].to_bytes());
    let capabilities = Capabilities::of(&Capability::ALL).with_staleness(Duration::from_millis(3));
    seeds.put_chosen("capabilities", 12, capabilities.to_bytes());
    seeds.put_chosen("error", 13, error.to_bytes());
    seeds.put_chosen("token", 14, Token { epoch: u64::MAX, sequence: 1 }.to_bytes());
    seeds.put_chosen("outcome-twice", 8, b"\x82\x00\x91\x82\x00\x01\x03\x02\x01\x92\x01\x02");
}

fn engine() {
    let seeds = Seeds::of("engine");
    let id = CollectionId(0);
    let put = |row: Row| Mutation::Put { collection: id, row };
    let batch = |mutations: Vec<Mutation>| mutations.to_bytes();
    let ask = |all: Vec<Condition>, order: Vec<Order>| Query { all, order, ..Query::all(id) }.to_bytes();
    let filled = batch((1..6).map(|n| put(kinds(n, n, &format!("c{n}")))).collect());
    let mut all = filled.clone();
    for (op, operand) in [(Op::Lt, Value::Int(3)), (Op::Ne, 2.into()), (Op::Ge, Value::Real(1.5)), (Op::In, 4.into())] {
        all.extend(ask(vec![Condition::new(2, op, operand)], vec![Order { field: 3, descending: true }]));
    }
    seeds.put_for("kinds-compared", Kinds, &all);
    let mut texts = filled.clone();
    for (field, op, operand) in [(4, Op::Like, "t_%"), (11, Op::Eq, "t2\0é"), (4, Op::Gt, "t3"), (6, Op::Contains, "a")] {
        texts.extend(ask(vec![Condition::new(field, op, operand)], vec![Order { field: 4, descending: false }]));
    }
    texts.extend(ask(vec![Condition::new(7, Op::Eq, 5).on_member("m"), Condition::is_null(7).on_member("none")], Vec::new()));
    seeds.put_for("kinds-texts", Kinds, &texts);
    let mut paged = filled.clone();
    paged.extend(
        Query { limit: Some(2), offset: 1, order: vec![Order { field: 1, descending: true }], ..Query::all(id) }.to_bytes(),
    );
    let after = Continuation { values: vec![Value::Bool(true)], key: Key::Int(2) };
    paged.extend(Query { after: Some(after), order: vec![Order { field: 1, descending: true }], ..Query::all(id) }.to_bytes());
    seeds.put_for("kinds-paged", Kinds, &paged);
    let mut changed =
        batch(vec![put(client(1, "a")), put(client(2, "b")), Mutation::InsertNext { collection: id, row: client(0, "c") }]);
    let update = |changes, when| Mutation::Update { collection: id, key: 1.into(), changes, when };
    changed.extend(batch(vec![
        update(vec![Change::set(2, "x"), Change::ListAdd { field: 6, item: "y".into() }], vec![Condition::new(1, Op::Eq, "a")]),
        update(vec![Change::JsonSet { field: 11, name: "k".to_owned(), json: "[1]".to_owned() }], Vec::new()),
        update(
            vec![Change::Increment { field: 5, by: 2.into() }, Change::JsonUnset { field: 11, name: "n".to_owned() }],
            Vec::new(),
        ),
    ]));
    changed.extend(batch(vec![put(client(4, "a"))]));
    changed.extend(batch(vec![put(client(4, "revoked")), put(client(5, "revoked"))]));
    changed.extend(batch(vec![Mutation::Expect { collection: id, key: 4.into(), row: Some(client(4, "revoked")) }]));
    changed.extend(batch(vec![
        Mutation::Delete { collection: id, key: 5.into(), when: vec![Condition::new(4, Op::Eq, false)] },
        Mutation::DeleteWhere { query: Query::all(id).filter(Condition::new(1, Op::Eq, "b")).limit(1) },
    ]));
    changed.extend(Query::all(id).order_by(1, true).to_bytes());
    seeds.put_for("clients-changed", Clients, &changed);
    let mut notes = batch(["a", "", "é", "a\0"].map(|name| put(note(name))).to_vec());
    notes.extend(Query::all(id).order_by(2, true).to_bytes());
    seeds.put_for("notes", Notes, &notes);
    let collection =
        Collection::new("own", 1, "id", Kind::Int).field_with("u", Kind::Real, 1.0, Index::Unique { except: vec![0.0.into()] });
    let row =
        |key: i64, real: f64| Row::builder(&collection).set("id", key).and_then(|r| r.set("u", real)).expect("a row").build();
    let mut own = collection.to_bytes();
    own.extend(batch(vec![put(row(1, 0.0)), put(row(2, -0.0)), put(row(3, 2.0)), put(row(4, 3.0))]));
    own.extend(Query::all(id).filter(Condition::new(1, Op::Ge, 1)).to_bytes());
    seeds.put_chosen("own-collection", 0x80, &own);
}
