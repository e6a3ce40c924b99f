use super::*;

const ANSWERS: [&str; 35] = [
    "+OK\r\n",
    "+PONG\r\n",
    "+\r\n",
    "+a\rb\r\n",
    "-ERR no such thing\r\n",
    "-WRONGTYPE Operation\r\n",
    "-\r\n",
    ":0\r\n",
    ":-9223372036854775808\r\n",
    ":9223372036854775807\r\n",
    "$-1\r\n",
    "$0\r\n\r\n",
    "$5\r\nhello\r\n",
    "$4\r\na\r\nb\r\n",
    "*-1\r\n",
    "*0\r\n",
    "*2\r\n$1\r\n7\r\n$-1\r\n",
    "*2\r\n*1\r\n:1\r\n*2\r\n$1\r\na\r\n-ERR inner\r\n",
    "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*2\r\n+deep\r\n:1\r\n",
    "*2\r\n:1\r\n%1\r\n+a\r\n:2\r\n",
    "_\r\n",
    "#t\r\n",
    ",1.5\r\n",
    "(123456789012345678901234567890\r\n",
    "!9\r\nERR a\r\nb!\r\n",
    "=7\r\ntxt:a\r\n\r\n",
    "%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n",
    "~2\r\n:1\r\n:2\r\n",
    "|1\r\n+ttl\r\n:3600\r\n$1\r\nv\r\n",
    ">2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\na\r\n$2\r\nbc\r\n",
    ">2\r\n$10\r\ninvalidate\r\n$-1\r\n",
    ">2\r\n+invalidate\r\n_\r\n",
    ">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n",
    ">0\r\n",
    "*0\r\n",
];

#[test]
fn an_answer_ends_where_it_ends_and_says_what_the_crate_reads() {
    for answer in ANSWERS {
        let bytes = answer.as_bytes();
        let mut grown = Scan::default();
        for cut in 0..bytes.len() {
            assert_eq!(Scan::default().end(&bytes[..cut]), Ok(None), "{answer:?} up to {cut}");
            assert_eq!(grown.end(&bytes[..cut]), Ok(None), "{answer:?} up to {cut}");
        }
        for more in ["", "$", "*1\r\n", "nonsense"] {
            let all = [bytes, more.as_bytes()].concat();
            assert_eq!(Scan::default().end(&all), Ok(Some(bytes.len())), "{answer:?} {more:?}");
            assert_eq!({ grown }.end(&all), Ok(Some(bytes.len())), "{answer:?} {more:?}");
        }
        let value = Reply::read(bytes).to_value().expect(answer);
        assert_eq!(value, redis::parse_redis_value(bytes).expect(answer), "{answer:?}");
    }
}

#[test]
fn what_lies_in_a_list_is_read_in_its_order() {
    let Reply::List(mut items) = Reply::read(b"*4\r\n$1\r\n7\r\n$-1\r\n:3\r\n*1\r\n$1\r\nx\r\n") else { panic!("a list") };
    assert_eq!(items.len(), 4);
    assert_eq!((items.next(), items.next(), items.next()), (Some(Reply::Text(b"7")), Some(Reply::Nil), Some(Reply::Int(3))));
    let Some(Reply::List(inner)) = items.next() else { panic!("a list") };
    assert_eq!(inner.collect::<Vec<_>>(), [Reply::Text(b"x")]);
    assert_eq!(items.next(), None);
}

#[test]
fn what_is_no_answer_is_told_from_one_that_is_still_coming() {
    for nonsense in [
        "HTTP/1.1 400 Bad Request\r\n",
        "\u{ff}",
        "220 mail ready\r\n",
        "$x\r\n",
        "*1\r\n$\r\n",
        "$1\r\nabc",
        "$2\r\nab\n\n",
        "*1e3\r\n",
    ] {
        let mut scan = Scan::default();
        assert!(scan.end(nonsense.as_bytes()).is_err(), "{nonsense:?}");
    }
    for endless in
        ["*2000000000\r\n$2000000000\r\n", "$99999999999999999999\r\n", "*9223372036854775807\r\n*9223372036854775807\r\n"]
    {
        let found = Scan::default().end(endless.as_bytes());
        assert!(!matches!(found, Ok(Some(_))), "{endless:?} {found:?}");
    }
}
