//! What a refusal teaches about the backend, and the request written accordingly.

use std::sync::Arc;

use http::{Request, Response};

use super::{Call, new_conversation, response::upstream_words};
use crate::{
    backend::{ClaudeThinking, Lesson, OpenAiApi, OptionalField},
    body::Buffered,
    client::{foreign_signature, openai_api, refused_field},
    dialect::{Conversation, Dialect, UnsupportedField},
};

impl Call {
    /// Whether a response refuses the summary of reasoning that a translation asked for.
    pub(in crate::client) fn refuses_summary<B>(&self, answer: &Response<B>) -> bool {
        let error = upstream_words(answer);
        self.dialect == Dialect::Responses
            && self.conversation.is_some()
            && !self.backend().refuses_reasoning_summary()
            && error.and_then(|error| error.param.as_deref()) == Some("reasoning.summary")
    }

    /// Returns the other one of OpenAI's formats, if a refusal says that the upstream needs it. The call is changed
    /// accordingly.
    ///
    /// # Errors
    /// The field of the request that the other format cannot express.
    pub(in crate::client) fn switch_api<B>(
        &mut self,
        answer: &Response<B>,
        client: &Request<Buffered>,
    ) -> Result<Option<OpenAiApi>, UnsupportedField> {
        if !self.endpoint.is_chat() || !self.backend().may_learn_openai_api() {
            return Ok(None);
        }
        let error = upstream_words(answer);
        let api = error.and_then(|error| openai_api::needed(self.dialect, answer.status(), error));
        let Some(api) = api else { return Ok(None) };
        let dialect = if api == OpenAiApi::Chat { Dialect::OpenAi } else { Dialect::Responses };
        let conversation = if dialect.format().has_endpoint(self.endpoint) {
            None
        } else {
            let known = self.conversation.clone();
            let known = known.or_else(|| client.extensions().get::<Arc<Conversation>>().cloned());
            let known = known.filter(|_| self.prefill.is_none()).unwrap_or_else(|| {
                let body = self.prefill.as_ref().unwrap_or(client.body()).bytes().clone();
                Arc::new(new_conversation(self.endpoint, body, client, &self.requested))
            });
            known.supports(dialect).map_err(Clone::clone)?;
            Some(known)
        };
        (self.dialect, self.conversation) = (dialect, conversation);
        self.rules = self.rules_of_backend();
        self.usage = self.asks_usage();
        Ok(Some(api))
    }

    /// Leaves out the signed reasoning if a response refuses a signature. Returns whether that makes it another request.
    pub(in crate::client) fn omit_signatures<B>(&mut self, answer: &Response<B>, client: &Request<Buffered>) -> bool {
        let error = upstream_words(answer);
        // OpenAI does not say whose reasoning it is, so that another backend of the model may take it.
        let is_other_first = self.dialect == Dialect::Responses && !self.selected.is_last_of_model();
        if is_other_first
            || !error.is_some_and(|error| foreign_signature::is_refused(self.dialect, answer.status(), error))
        {
            return false;
        }
        let before = self.upstream_body(client.body().bytes());
        self.omits_signatures = true;
        before != self.upstream_body(client.body().bytes())
    }

    /// Returns what a response teaches about the backend.
    pub(in crate::client) fn lesson<B>(&self, answer: &Response<B>) -> Option<Lesson> {
        let dialect = self.backend().provider().dialect();
        let is_thinking = dialect == Dialect::Claude && self.conversation.is_some();
        if !is_thinking && !self.has_optional_fields() && !self.is_responses_request() {
            return None;
        }
        refused_field::lesson(answer.status(), upstream_words(answer)?, dialect)
    }

    /// Writes the request by a lesson from now on. Returns whether that makes it another request.
    pub(in crate::client) fn obey(&mut self, lesson: Lesson, client: &Request<Buffered>) -> bool {
        let before = self.upstream_body(client.body().bytes());
        match lesson {
            Lesson::Refuses(OptionalField::StreamOptions) => {
                self.usage = false;
                self.rules.omit(OptionalField::StreamOptions);
            }
            Lesson::Refuses(field) => self.rules.omit(field),
            Lesson::Efforts(efforts) => {
                self.efforts = efforts;
                self.rules.limit_efforts(efforts);
            }
            Lesson::ReasoningHistory(history) if self.is_chat_request() => self.rules.set_history(history),
            Lesson::Thinking(thinking) if self.backend().thinking() == ClaudeThinking::Auto => self.thinking = thinking,
            _ => {}
        }
        before != self.upstream_body(client.body().bytes())
    }
}
