//! Anthropic's Messages as types, and as a format in front of the gateway.
