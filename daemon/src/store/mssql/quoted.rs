//! Quotes the names of tables and columns as identifiers of T-SQL. Pure.

/// Quotes any name as an identifier; `schema.table` becomes `[schema].[table]`.
pub(super) fn quote(name: &str) -> String {
    let parts: Vec<String> = name.split('.').map(|part| format!("[{}]", part.replace(']', "]]"))).collect();
    parts.join(".")
}

/// Returns the quoted name of a side table, in the schema of the customers' table.
pub(super) fn beside(table: &str, own: &str) -> String {
    match table.rsplit_once('.') {
        Some((schema, _)) => quote(&format!("{schema}.{own}")),
        None => quote(own),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_whatever_is_in_them() {
        assert_eq!(quote("customer_settings"), "[customer_settings]");
        assert_eq!(quote("dbo.my table"), "[dbo].[my table]");
        assert_eq!(quote("a]; DROP TABLE b"), "[a]]; DROP TABLE b]");
        assert_eq!(beside("crm.customers", "tbtokend_key"), "[crm].[tbtokend_key]");
        assert_eq!(beside("customers", "tbtokend_key"), "[tbtokend_key]");
    }
}
