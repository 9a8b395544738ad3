import type { Point } from './point.js';
import { bodyPoints } from './points-bodies.js';
import { connectionPoints } from './points-connections.js';
import { fieldPoints } from './points-fields.js';
import { streamPoints } from './points-streams.js';
import { targetPoints } from './points-targets.js';

/** All points, in the order of the table. */
export const points: readonly Point[] = [
  ...fieldPoints,
  ...bodyPoints,
  ...connectionPoints,
  ...targetPoints,
  ...streamPoints,
];
