//! The way to answer one request of a service, at once or when there is something to say.

/// Takes the reply's body, or hears that there will be none.
type Give = Box<dyn FnOnce(Option<Vec<u8>>) + Send>;

/// Answers one request. Where it goes without a word, the client's own timeout is the answer.
pub struct Reply(Option<Give>);

impl Reply {
    /// A reply that `give` sends.
    pub fn by(give: impl FnOnce(Option<Vec<u8>>) + Send + 'static) -> Self {
        Self(Some(Box::new(give)))
    }

    /// Sends a little-endian CDR body.
    pub fn give(mut self, body: Vec<u8>) {
        self.0.take().expect("a reply is given once")(Some(body));
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(give) = self.0.take() {
            give(None);
        }
    }
}

#[cfg(test)]
#[test]
fn a_reply_is_given_once_or_said_to_be_none() {
    let (sender, heard) = std::sync::mpsc::channel();
    let reply = || {
        let sender = sender.clone();
        Reply::by(move |body| sender.send(body).unwrap())
    };
    reply().give(vec![7]);
    drop(reply());
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), [Some(vec![7]), None]);
}
