"""The Software Package Catalog: state and rules, its operations, bills of materials, and the `$package` shadow."""
