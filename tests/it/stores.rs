//! The two stores: what is true over one is true over the other.

use anyhow::Result;
use tests::{
    postgres::{self, Database},
    system::{System, SystemBuilder},
};

/// Where the producers of a scenario keep what they know.
#[derive(Debug)]
pub(crate) enum Store {
    /// A file of the system's own.
    Sqlite,
    /// A database of the scenario's own.
    Postgres(Database),
}

impl Store {
    pub(crate) async fn postgres() -> Result<Self> {
        Ok(Self::Postgres(postgres::fresh_database().await?))
    }

    /// The usual system over it.
    pub(crate) fn builder(&self) -> SystemBuilder {
        match self {
            Self::Sqlite => System::builder(),
            Self::Postgres(database) => System::builder().postgres(database),
        }
    }
}

/// Scenarios that take a store, over each of the two.
macro_rules! over_both_stores {
    ($($scenario:ident),* $(,)?) => {
        mod over_sqlite {
            $(
                #[tokio::test]
                async fn $scenario() -> anyhow::Result<()> {
                    super::$scenario(&crate::stores::Store::Sqlite).await
                }
            )*
        }

        mod over_postgres {
            $(
                #[tokio::test]
                async fn $scenario() -> anyhow::Result<()> {
                    super::$scenario(&crate::stores::Store::postgres().await?).await
                }
            )*
        }
    };
}
pub(crate) use over_both_stores;
