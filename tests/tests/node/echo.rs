//! The agent that is built in: a newcomer sees a round trip without an assistant behind the node.

use super::*;

#[test]
fn an_utterance_comes_back_as_spoken_to_who_said_it() {
    let (kitchen, garden) = (Client::new("key-kitchen"), Client::new("key-garden"));
    let site = Site::new(Backend::Sqlite, &[kitchen.clone(), garden.clone()]);
    site.change(|config| config["agent_protocol"] = json!({"module": "echo"}));
    let mut stage = Stage::on(site, Make::Ours);
    let satellites = &mut stage.satellites;
    satellites.up("one", &kitchen);
    satellites.up("two", &garden);
    satellites.send("one", UTTERANCE, &json!({"utterances": ["guten Morgen"], "lang": "de-de"}));
    let spoken = satellites.wait("one", "speak");
    assert!(spoken["payload"]["data"]["utterance"].as_str().is_some_and(|text| text.contains("guten Morgen")), "{spoken}");
    assert_eq!(satellites.denied("one", "ovos.not.allowed")["code"], "acl_disallowed_type");
    satellites.send("two", UTTERANCE, &json!({"utterances": ["second"]}));
    assert!(satellites.wait("two", "speak")["payload"]["data"]["utterance"].as_str().is_some_and(|text| text.contains("second")));
    assert_eq!(satellites.heard("one"), [] as [Value; 0]);
    assert!(stage.tap.heard().iter().all(|message| message["type"] != UTTERANCE), "nothing goes to a bus");
}
