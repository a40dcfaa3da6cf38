//! What the other operator is answered about an erased account, which has no machine.

use warifu_client_sdk::runtime::Machine;
use warifu_consensus::{
    chain::Head,
    party::{Role, Sub},
    vote::{Statement, Verb, Vote},
    wire::{Agree, MAX_BLOCKS_BYTES, Message, Reason},
};

use super::Erasing;

impl<M: Machine> Erasing<M> {
    /// Answers the other operator about an erased account, which has no machine: where its chain ends, and the
    /// blocks, so that a restored copy catches up; and no to everything else. `true`: it is erased.
    pub(in crate::roles) fn answers(&self, sub: Sub, from: Role, agree: &Agree) -> bool {
        if !self.is_erased(&sub) {
            return false;
        }
        let answer = match agree {
            Agree::HeadIs { ask: true, .. } => self.head_is(sub),
            Agree::BlocksFrom { height } => self.blocks_from(sub, *height),
            Agree::Prepare { block } => Some(Agree::Refused {
                hash: block.hash(),
                reason: Reason::Rule("the account is erased".to_owned()),
            }),
            _ => None,
        };
        let peer = self.directory.peer(&sub, from);
        if let (Some(agree), Some(peer)) = (answer, peer) {
            let agree = Box::new(agree);
            match (Message::Agree { sub, agree }).to_frame() {
                Ok(frame) => self.lines.send_to(peer, frame),
                Err(error) => tracing::error!(account = %sub, %error, "not answered"),
            }
        }
        true
    }

    fn head_is(&self, sub: Sub) -> Option<Agree> {
        let height = self.keeper.height(&sub).ok().flatten()?;
        let hash = self.keeper.head(&sub).ok().flatten()?;
        let said = Statement {
            verb: Verb::Head,
            role: self.role,
            sub,
            hash,
        };
        Some(Agree::HeadIs {
            head: Some(Head { height, hash }),
            vote: Some(Vote::sign(&self.key, &said)),
            ask: false,
            notice: false,
        })
    }

    fn blocks_from(&self, sub: Sub, from: u64) -> Option<Agree> {
        let until = self.keeper.height(&sub).ok().flatten()?;
        let sealed = self.keeper.blocks(&sub, from, until, MAX_BLOCKS_BYTES);
        sealed.ok().map(|sealed| Agree::Blocks { sealed })
    }
}
