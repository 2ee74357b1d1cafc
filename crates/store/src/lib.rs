//! Persistence of sessions and their entries.
//!
//! A change is durable when its call returns. [`SqliteStore`] is the default, [`PostgresStore`] serves several cores,
//! [`MemoryStore`] lives as long as its process. All pass one contract suite (`tests/it`). No other crate may contain SQL.
//!
//! # Examples
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! use protocol::{Locale, ResumeToken, SessionId, Timestamp};
//! use store::{MemoryStore, NewSession, Store as _};
//!
//! let store = MemoryStore::default();
//! let (id, token) = (SessionId::random(), ResumeToken::random());
//! let created_at = Timestamp::from_unix_ms(0);
//! let session = NewSession { id, token: token.clone(), locale: Locale::default(), country: None, created_at };
//! let created = store.create_session(session).await.unwrap();
//! let found = store.session_by_token(&token).await.unwrap();
//! assert_eq!(found.map(|found| found.user), Some(created.user));
//! # });
//! ```

#![warn(missing_docs)]

mod api;
mod content;
mod database;
mod error;
mod key_id;
pub mod keys;
mod memory;
mod metrics;
mod migration;
mod model;
mod postgres;
mod rekey;
mod rows;
mod run_lock;
mod sqlite;
mod unkept;
mod url;

pub use api::Store;
pub use database::{DatabaseSettings, open};
pub use error::{OpenError, StoreError};
pub use memory::MemoryStore;
pub use metrics::{DatabaseGauges, DatabaseMeter, DatabaseMetric, PoolUse};
pub use model::{
    Appended, Cutoffs, EntryPosition, Forget, NewEntry, NewLink, NewSession, Page, ReadableEntries, Recent,
    ReferralBatch, ReferralCount, SessionRecord, Summary, Tombstone,
};
pub use postgres::PostgresStore;
pub use rekey::{rekey, upgrade_legacy_entries};
pub use run_lock::RunLock;
pub use sqlite::SqliteStore;
pub use unkept::WithUnkept;
pub use url::{DatabaseUrl, DatabaseUrlError, PostgresUrl};
