//! What a Python node does with settings that this one has no use for. Said at the start, once: an operator who set it expects it.

use super::block::Block;
use super::settings::WEBSOCKET;
use crate::failure::Failure;

/// One remark for each thing that is switched on and not offered.
pub(super) fn remarks(root: &Block<'_>) -> Result<Vec<String>, Failure> {
    let mut remarks = Vec::new();
    let transports = root.block("network_protocol")?;
    remarks.extend(
        transports
            .names()
            .filter(|name| *name != WEBSOCKET)
            .map(|name| format!("network_protocol.{name} is not offered: satellites connect by WebSocket")),
    );
    if !transports.is_there() {
        let message =
            "network_protocol is not configured: a Python node also listens by HTTP on port 5679 then, if that is installed";
        remarks.push(format!("{message}, and this one does not; name {WEBSOCKET} in network_protocol if that is right"));
    }
    let listener = transports.block(WEBSOCKET)?;
    for name in ["trusted_proxy_cidrs", "trusted_client_ip_headers"] {
        if listener.get(name).is_some() {
            let place = listener.place_of(name);
            remarks.push(format!("{place} is not heeded: behind a proxy all satellites have its address, and share its limit"));
        }
    }
    if root.block("upstream")?.truth("enabled")? == Some(true) {
        remarks.push("upstream is not offered: this node is the top of its hive".to_owned());
    }
    // Where nothing is said, a Python node is present.
    if root.block("presence")?.truth("enabled")? != Some(false) {
        let message = "presence is not offered: satellites do not find this node by themselves, and have to be told its address";
        remarks.push(format!("{message}; set presence.enabled to false if that is right"));
    }
    if root.block("rendezvous")?.truth("enabled")? == Some(true) {
        remarks.push("rendezvous is not offered: this node keeps no mail".to_owned());
    }
    if root.block("binary_protocol")?.text("module")?.is_some() {
        remarks.push("binary_protocol is not offered: binary messages (audio, files) are checked, and dropped".to_owned());
    }
    for name in ["utterance_transformers", "metadata_transformers", "dialog_transformers"] {
        if root.block(name)?.names().next().is_some() {
            remarks.push(format!("{name} are not offered: messages are passed on as they are"));
        }
    }
    Ok(remarks)
}
