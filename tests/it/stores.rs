//! The two stores, over which scenarios hold alike.

use anyhow::Result;
use tests::{
    postgres::{self, Database},
    system::{System, SystemBuilder},
};

/// The store of a scenario's producers.
#[derive(Debug)]
pub(crate) enum Store {
    /// A file in the system's directory.
    Sqlite,
    /// A database for the scenario.
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

/// Defines each scenario twice, once over each store.
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
