import { leaseSuite } from '../conformance/lease-suite.ts';
import { startRealDynamo } from './dynamo-endpoint.ts';

leaseSuite('DynamoDB Local', startRealDynamo);
