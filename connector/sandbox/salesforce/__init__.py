"""A local stand-in of a Salesforce org: REST API, OAuth, SOQL and the object rules a connector meets, over HTTPS."""
