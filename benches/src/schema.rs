//! A PostgreSQL schema of a measurement's own.

use std::error::Error;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Made empty; dropped by [`Schema::drop`].
pub(crate) struct Schema {
    server: String,
    name: String,
}

impl Schema {
    pub(crate) async fn create(server: &str) -> Result<Self> {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let schema = Self {
            server: server.to_owned(),
            name: format!("bench_{}", since_epoch.as_micros()),
        };
        schema
            .execute(&format!("create schema {}", schema.name))
            .await?;
        Ok(schema)
    }

    /// The server, with this schema in front.
    pub(crate) fn url(&self) -> String {
        let mark = if self.server.contains('?') { '&' } else { '?' };
        let (server, name) = (&self.server, &self.name);
        format!("{server}{mark}options=-csearch_path%3D{name}")
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) async fn size_bytes(&self) -> Result<u64> {
        let mut conn = PgConnection::connect(&self.url()).await?;
        let size: i64 = sqlx::query_scalar(
            "select coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint from pg_class c \
             where c.relkind = 'r' and c.relnamespace = current_schema()::regnamespace",
        )
        .fetch_one(&mut conn)
        .await?;
        Ok(u64::try_from(size)?)
    }

    pub(crate) async fn drop(self) -> Result<()> {
        self.execute(&format!("drop schema {} cascade", self.name))
            .await
    }

    async fn execute(&self, statement: &str) -> Result<()> {
        let mut conn = PgConnection::connect(&self.server).await?;
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(&mut conn)
            .await?;
        conn.close().await?;
        Ok(())
    }
}
