use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::read(std::iter::once("hivemind-host").chain(line.split_whitespace()))
}

#[test]
fn the_declarations_are_consistent() {
    Cli::declaration().debug_assert();
}

#[test]
fn every_client_command_of_the_python_node_is_there() {
    let command = Cli::declaration();
    let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    for name in [
        "add-client",
        "list-clients",
        "export-clients",
        "rename-client",
        "delete-client",
        "make-admin",
        "revoke-admin",
        "allow-msg",
        "blacklist-msg",
        "allow-broadcast",
        "blacklist-broadcast",
        "allow-escalate",
        "blacklist-escalate",
        "allow-propagate",
        "blacklist-propagate",
        "allow-skill",
        "blacklist-skill",
        "allow-intent",
        "blacklist-intent",
        "set-metadata",
        "reset-noise-pin",
        "print-config",
    ] {
        assert!(names.contains(&name), "{name}");
    }
}

#[test]
fn the_options_of_every_command_stand_anywhere() {
    for line in [
        "--config c --db-backend json --plugins-dir a --plugins-dir b make-admin 3",
        "make-admin 3 --config c --db-backend json --plugins-dir a --plugins-dir b",
        "make-admin --plugins-dir a --config c 3 --plugins-dir b --db-backend json",
        "--plugins-dir a --config x --db-backend json make-admin 3 --config c --plugins-dir b",
    ] {
        let cli = parse(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        assert_eq!(cli.global.plugins_dir, [PathBuf::from("a"), PathBuf::from("b")], "{line}");
        assert_eq!((cli.global.config.as_deref(), cli.global.db_backend.as_deref()), (Some("c".as_ref()), Some("json")));
    }
    let plugins = parse("-v --plugins-dir a plugins --plugins-dir b -v list --plugins-dir c -v").expect("parsed").global;
    assert_eq!((plugins.plugins_dir.len(), plugins.verbose), (3, 3));
    let redis = parse("list-clients --redis-host h --redis-port 1 --redis-password p").expect("parsed").global.overrides();
    assert_eq!((redis.redis_host.as_deref(), redis.redis_port, redis.redis_password.as_deref()), (Some("h"), Some(1), Some("p")));
}

#[test]
fn admin_takes_a_truth_value_or_none() {
    let admin = |line: &str| match parse(line).map(|c| c.command) {
        Ok(Command::AddClient(args)) => Ok(args.admin),
        _ => Err(()),
    };
    for (line, expected) in [
        ("add-client", Ok(None)),
        ("add-client --admin", Ok(Some(true))),
        ("add-client --admin true --name x", Ok(Some(true))),
        ("add-client --admin --name x", Ok(Some(true))),
        ("add-client --admin=no", Ok(Some(false))),
        ("add-client --admin F", Ok(Some(false))),
        ("add-client --admin 1", Ok(Some(true))),
        ("add-client --admin maybe", Err(())),
    ] {
        assert_eq!(admin(line), expected, "{line}");
    }
}

#[test]
fn wrong_command_lines_are_refused() {
    for line in [
        "",
        "nope",
        "rename-client 1",
        "allow-msg",
        "blacklist-skill",
        "make-admin 1 2",
        "make-admin -3",
        "list-clients --redis-port x",
    ] {
        assert!(parse(line).is_err(), "{line:?}");
    }
    assert!(parse("make-admin -- -3").is_ok());
}
