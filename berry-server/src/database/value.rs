//! The values of parameters and columns.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use rusqlite::types::{ToSqlOutput, ValueRef};
use tokio_postgres::types::{IsNull, ToSql, Type};

/// A parameter or a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Integer(value.into())
    }
}

impl From<u64> for Value {
    /// Larger numbers than a column holds become the largest one.
    fn from(value: u64) -> Self {
        Self::Integer(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        // PostgreSQL's text has no NUL.
        Self::Text(value.replace('\0', ""))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::from(value.as_str())
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(value.to_vec())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl Value {
    /// The type of the parameter in PostgreSQL.
    pub(super) const fn postgres_type(&self) -> Type {
        match self {
            Self::Null => Type::UNKNOWN,
            Self::Integer(_) => Type::INT8,
            Self::Text(_) => Type::TEXT,
            Self::Bytes(_) => Type::BYTEA,
        }
    }

    pub(super) fn from_sqlite(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(value) => Self::Integer(value),
            // No column is a fraction.
            ValueRef::Real(value) => Self::Integer(value as i64),
            ValueRef::Text(text) => Self::Text(String::from_utf8_lossy(text).into_owned()),
            ValueRef::Blob(bytes) => Self::Bytes(bytes.to_vec()),
        }
    }

    pub(super) fn from_postgres(row: &tokio_postgres::Row, index: usize) -> Result<Self, tokio_postgres::Error> {
        let kind = row.columns()[index].type_();
        Ok(if *kind == Type::INT8 {
            row.try_get::<_, Option<i64>>(index)?.into()
        } else if *kind == Type::INT4 {
            row.try_get::<_, Option<i32>>(index)?.map(i64::from).into()
        } else if *kind == Type::BYTEA {
            row.try_get::<_, Option<&[u8]>>(index)?.into()
        } else {
            row.try_get::<_, Option<&str>>(index)?.into()
        })
    }
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(value) => ValueRef::Integer(*value),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl ToSql for Value {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => return Ok(IsNull::Yes),
            Self::Integer(value) => out.put_i64(*value),
            Self::Text(text) => out.put_slice(text.as_bytes()),
            Self::Bytes(bytes) => out.put_slice(bytes),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    tokio_postgres::types::to_sql_checked!();
}

/// The columns of one row.
#[derive(Clone, Debug)]
pub(crate) struct Row(pub(super) Vec<Value>);

impl Row {
    /// Returns a column of numbers; 0 for null.
    pub(crate) fn integer(&self, index: usize) -> i64 {
        self.maybe_integer(index).unwrap_or_default()
    }

    pub(crate) fn maybe_integer(&self, index: usize) -> Option<i64> {
        match self.0.get(index)? {
            Value::Integer(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns a column of text; empty for null.
    pub(crate) fn text(&self, index: usize) -> &str {
        self.maybe_text(index).unwrap_or_default()
    }

    pub(crate) fn maybe_text(&self, index: usize) -> Option<&str> {
        match self.0.get(index)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns a column of bytes; empty for null.
    pub(crate) fn bytes(&self, index: usize) -> &[u8] {
        match self.0.get(index) {
            Some(Value::Bytes(bytes)) => bytes,
            _ => &[],
        }
    }
}
