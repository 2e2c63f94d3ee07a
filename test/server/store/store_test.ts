// Every repository on both databases. The cases stand one file a subject; they run from here so that each database is made
// once.
import { onEachStore } from "../../support/stores.ts";
import { brokerClientCases } from "./cases/broker_clients.ts";
import { campaignCases } from "./cases/campaigns.ts";
import { catalogueCases } from "./cases/catalogue.ts";
import { commandCases } from "./cases/commands.ts";
import { diagnosticCases } from "./cases/diagnostics.ts";
import { maintenanceCases } from "./cases/maintenance.ts";
import { signedMetadataCases } from "./cases/signed_metadata.ts";
import { telemetryCases } from "./cases/telemetry.ts";
import { updateCases } from "./cases/updates.ts";
import { vciCases } from "./cases/vci.ts";
import { vehicleCases } from "./cases/vehicles.ts";

onEachStore([
  ...vehicleCases,
  ...vciCases,
  ...catalogueCases,
  ...updateCases,
  ...campaignCases,
  ...commandCases,
  ...brokerClientCases,
  ...diagnosticCases,
  ...signedMetadataCases,
  ...telemetryCases,
  ...maintenanceCases,
]);
