//! Who has to be another than whom: each erluv-child than every worker, of whatever node; and the workers of one node
//! than those of another, where somebody cares.

use std::collections::BTreeMap;

use erluv_proto::ids::NodeName;

use super::Roles;
use crate::order::Identity;
use crate::settings::{ConfigError, NodeSettings};

/// Adds to the roles what is worth a line in the log.
///
/// # Errors
/// A worker that would have the user or a group of an erluv-child (S-08).
pub(super) fn check_nodes(nodes: &[NodeSettings], roles: &mut [Roles]) -> Result<(), ConfigError> {
    for ours in roles.iter() {
        let Some(child) = &ours.child else { continue };
        identities(roles).try_for_each(|worker| keep_apart(child, worker))?;
    }
    for (name, sharing) in shared(nodes, roles) {
        let sharing = sharing.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ");
        if let Some(last) = roles.last_mut() {
            last.warnings.push(format!(
                "workers.users: workers of {sharing} may all run as {name:?}, and then signal and trace each other: \
                 name other users in the [[node]] tables to keep them apart"
            ));
        }
    }
    Ok(())
}

fn identities(roles: &[Roles]) -> impl Iterator<Item = &Identity> {
    roles.iter().flat_map(|roles| &roles.workers).flatten().filter_map(|person| person.identity.as_ref())
}

/// The users of workers of more than one node, by number, for two names can be one user; and these nodes.
fn shared(nodes: &[NodeSettings], roles: &[Roles]) -> Vec<(String, Vec<NodeName>)> {
    let mut users = BTreeMap::<u32, (String, Vec<NodeName>)>::new();
    for (node, roles) in nodes.iter().zip(roles) {
        for worker in identities(std::slice::from_ref(roles)) {
            let (_, sharing) = users.entry(worker.uid).or_insert_with(|| (worker.name.to_string(), Vec::new()));
            if !sharing.contains(&node.peer) {
                sharing.push(node.peer.clone());
            }
        }
    }
    users.into_values().filter(|(_, sharing)| sharing.len() > 1).collect()
}

/// A worker that had child's user could trace or kill it, and with its group open what is child's (S-08).
fn keep_apart(child: &Identity, worker: &Identity) -> Result<(), ConfigError> {
    let (ours, theirs) = (&child.name, &worker.name);
    let advice = "create a user for erluv alone (useradd -r -d /var/empty -s /usr/sbin/nologin _erluv), or name \
                  other users in workers.users";
    if child.uid == worker.uid {
        let what = format!("erluv-child would run as {ours:?}, as which workers may run, too: {advice}");
        return Err(ConfigError::rule("user", what));
    }
    if worker.groups.contains(&child.gid) {
        let what =
            format!("erluv-child as {ours:?} and workers as {theirs:?} would share group {}: {advice}", child.gid);
        return Err(ConfigError::rule("user", what));
    }
    Ok(())
}
