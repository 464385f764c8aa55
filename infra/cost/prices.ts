/** One list price, for one unit. No free tier, no discount. */
export interface Price {
  readonly usd: number;
  readonly unit: string;
  /** Page of AWS to check it. */
  readonly page: string;
  /** False: written down from memory. */
  readonly confirmed: boolean;
}

export const PRICE_NAMES = [
  'lambdaGbSecond',
  'lambdaRequest',
  'httpApiRequest',
  'dynamoDbReadUnit',
  'dynamoDbWriteUnit',
  'dynamoDbGbMonth',
  'dynamoDbPitrGbMonth',
  's3Write',
  's3Read',
  's3GbMonth',
  'stepFunctionsTransition',
  'eventBridgeEvent',
  'schedulerInvocation',
  'sqsRequest',
  'logsGbIngested',
  'logsGbMonth',
  'customMetricMonth',
  'alarmMetricMonth',
  'dashboardMonth',
  'secretMonth',
  'kmsKeyMonth',
  'kmsRequest',
  'cloudTrailDataEvent',
  'crossRegionGb',
  'ecrGbMonth',
  't4gSmallHour',
  'gp3GbMonth',
  'ipv4Hour',
] as const;
export type PriceName = (typeof PRICE_NAMES)[number];

/** infra/cost/prices.json: the one price table. */
export interface PriceTable {
  readonly region: string;
  readonly currency: string;
  readonly asOf: string;
  readonly prices: Readonly<Record<PriceName, Price>>;
}
