// The migrations in their order. They are modules and not .sql files so that a bundled or compiled program carries them.
import type { Migration } from "../migrate.ts";
import { base } from "./0001_base.ts";
import { download } from "./0002_download.ts";
import { mqttSessions } from "./0003_mqtt_sessions.ts";
import { externalBroker } from "./0004_external_broker.ts";
import { rolledBack } from "./0005_rolled_back.ts";
import { requirements } from "./0006_requirements.ts";
import { campaigns } from "./0007_campaigns.ts";
import { signedMetadata } from "./0008_signed_metadata.ts";

export const migrations: readonly Migration[] = [
  base,
  download,
  mqttSessions,
  externalBroker,
  rolledBack,
  requirements,
  campaigns,
  signedMetadata,
];
