//! The seed's rows outside the lots' own tables. Whatever is there already stays as it is.

use jiff::civil::Date;
use jiff_sqlx::ToSqlx;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::places::SeedOperator;
use super::zones::{SeedTariff, Zone};
use crate::kernel::ids::{LotId, OperatorId};
use crate::kernel::vehicle::VehicleClass;
use crate::platform::App;

/// A transaction that seeds.
pub(super) struct Seeder<'t> {
    pub(super) app: &'t App,
    pub(super) conn: &'t mut PgConnection,
}

impl<'t> Seeder<'t> {
    pub(super) fn new(app: &'t App, conn: &'t mut PgConnection) -> Self {
        Self { app, conn }
    }

    /// One seeding at a time, or two first starts would collide.
    pub(super) async fn lock(&mut self) -> Result<(), sqlx::Error> {
        sqlx::query!("select pg_advisory_xact_lock(hashtext('iparking.seed'))")
            .execute(&mut *self.conn)
            .await?;
        Ok(())
    }

    pub(super) async fn operator(&mut self, new: &SeedOperator) -> Result<OperatorId, sqlx::Error> {
        let id: Uuid = self.app.new_id();
        sqlx::query!(
            r#"
            insert into operators (id, code, name, tax_code, created_at)
            values ($1, $2, $3, $4, $5)
            on conflict (code) do nothing
            "#,
            id,
            new.code,
            new.name,
            new.tax_code,
            self.app.now().to_sqlx() as _,
        )
        .execute(&mut *self.conn)
        .await?;
        let id = sqlx::query_scalar!("select id from operators where code = $1", new.code)
            .fetch_one(&mut *self.conn)
            .await?;
        Ok(OperatorId::from_uuid(id))
    }

    /// The operator's permit, with the city's usual share.
    pub(super) async fn permit(
        &mut self,
        new: &SeedOperator,
        operator: OperatorId,
    ) -> Result<Uuid, sqlx::Error> {
        let id: Uuid = self.app.new_id();
        sqlx::query!(
            r#"
            insert into permits (id, operator_id, number, valid_from)
            values ($1, $2, $3, date '2018-01-01')
            on conflict (number) do nothing
            "#,
            id,
            operator.get(),
            new.permit,
        )
        .execute(&mut *self.conn)
        .await?;
        sqlx::query_scalar!("select id from permits where number = $1", new.permit)
            .fetch_one(&mut *self.conn)
            .await
    }

    /// A tariff of the city with its first version.
    pub(super) async fn tariff(&mut self, new: &SeedTariff) -> Result<Uuid, sqlx::Error> {
        let now = self.app.now();
        let id: Uuid = self.app.new_id();
        let version: Uuid = self.app.new_id();
        sqlx::query!(
            r#"
            insert into tariffs (id, operator_id, code, name, source, created_at)
            values ($1, null, $2, $3, $4, $5)
            on conflict (operator_id, code) do nothing
            "#,
            id,
            new.code,
            new.name,
            new.source(),
            now.to_sqlx() as _,
        )
        .execute(&mut *self.conn)
        .await?;
        let id = sqlx::query_scalar!(
            "select id from tariffs where operator_id is null and code = $1",
            new.code
        )
        .fetch_one(&mut *self.conn)
        .await?;
        sqlx::query!(
            r#"
            insert into tariff_versions (id, tariff_id, version, starts_on, rules, created_at)
            values ($1, $2, 1, $3, $4, $5)
            on conflict (tariff_id, version) do nothing
            "#,
            version,
            id,
            new.starts_on.to_sqlx() as _,
            new.rules,
            now.to_sqlx() as _,
        )
        .execute(&mut *self.conn)
        .await?;
        Ok(id)
    }

    pub(super) async fn zone(&mut self, new: &Zone) -> Result<Uuid, sqlx::Error> {
        let id: Uuid = self.app.new_id();
        sqlx::query!(
            r#"
            insert into zones (id, code, name, valid_from)
            values ($1, $2, $3, $4)
            on conflict (code) do nothing
            "#,
            id,
            new.code,
            new.name,
            new.valid_from.to_sqlx() as _,
        )
        .execute(&mut *self.conn)
        .await?;
        sqlx::query_scalar!("select id from zones where code = $1", new.code)
            .fetch_one(&mut *self.conn)
            .await
    }

    pub(super) async fn assign_to_zone(
        &mut self,
        zone: Uuid,
        class: VehicleClass,
        tariff: Uuid,
        from: Date,
    ) -> Result<(), sqlx::Error> {
        let id: Uuid = self.app.new_id();
        sqlx::query!(
            r#"
            insert into tariff_assignments (id, zone_id, vehicle_class, tariff_id, valid_from)
            values ($1, $2, $3, $4, $5)
            on conflict (zone_id, vehicle_class, valid_from) where zone_id is not null do nothing
            "#,
            id,
            zone,
            class.as_str(),
            tariff,
            from.to_sqlx() as _,
        )
        .execute(&mut *self.conn)
        .await?;
        Ok(())
    }

    pub(super) async fn assign_to_lot(
        &mut self,
        lot: LotId,
        class: VehicleClass,
        tariff: Uuid,
        from: Date,
    ) -> Result<(), sqlx::Error> {
        let id: Uuid = self.app.new_id();
        sqlx::query!(
            r#"
            insert into tariff_assignments (id, lot_id, vehicle_class, tariff_id, valid_from)
            values ($1, $2, $3, $4, $5)
            "#,
            id,
            lot.get(),
            class.as_str(),
            tariff,
            from.to_sqlx() as _,
        )
        .execute(&mut *self.conn)
        .await?;
        Ok(())
    }

    pub(super) async fn put_into_zone(
        &mut self,
        lot: LotId,
        zone: Uuid,
        from: Date,
    ) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "insert into lot_zones (lot_id, zone_id, valid_from) values ($1, $2, $3)",
            lot.get(),
            zone,
            from.to_sqlx() as _,
        )
        .execute(&mut *self.conn)
        .await?;
        Ok(())
    }

    pub(super) async fn has_lot(&mut self, code: &str) -> Result<bool, sqlx::Error> {
        sqlx::query_scalar!(r#"select exists (select from lots where code = $1) as "there!""#, code)
            .fetch_one(&mut *self.conn)
            .await
    }

    pub(super) async fn set_permit(&mut self, lot: LotId, permit: Uuid) -> Result<(), sqlx::Error> {
        sqlx::query!("update lots set permit_id = $2 where id = $1", lot.get(), permit)
            .execute(&mut *self.conn)
            .await?;
        Ok(())
    }
}
